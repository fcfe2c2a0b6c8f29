"""Metrics on plain rows: text and strings in, numbers out. No jax.

A row holds what was asked and what was written; a parser reads the chosen letter out of the text.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

DOMAINS = ("in_domain", "out_of_domain")
"""Whether a kind of puzzle was trained on."""


class Answered(NamedTuple):
    """A multiple-choice question and the model's reply."""

    options: tuple[str, ...]
    """Up to 26, named A, B, ... in this order."""
    answer: str
    """The text of the right option."""
    reply: str
    """What the model wrote, without the prompt."""
    prompt: str = ""


class Scored(NamedTuple):
    """What a parser made of some rows, in their order."""

    letters: tuple[str | None, ...]
    """The letter as the parser read it; None where it found none."""
    correct: tuple[bool, ...]

    @property
    def accuracy(self) -> float:
        """Share of correct rows, 0..1; a row without a letter is wrong."""
        return sum(self.correct) / len(self.correct)


# ---- the letter in a text ------------------------------------------------------------------------

# A letter stands alone: not the B of "Based", not the a of "a mystery", not one of "(A) (B) (C)".
_BARE = r"(?<!\w)(?!a\s+\w)([A-Za-z])(?!\w|[-'’]\w)"
_ROUND = r"\(\s*([A-Za-z])\s*\)"
_ONE_OF_MANY = r"(?! *(?:,|/|&|and\b|or\b| )*\([A-Za-z]\)| *(?:,|/|&|and\b|or\b) *[A-Z]\b)"
# `is: **`, `:`, ` = `, `>`; a full stop or a new heading in between ends the statement.
_IS = r"[\s*_]*(?:(?i:is|was|would\s+be|should\s+be|must\s+be)\b|[:=>-])"
_NOISE = r"[^\w.!?;#(]*(?:(?i:option|choice|letter)\b[^\w.!?;#(]*)?"
# "is: green (B)": the option's words may come before its letter.
_WORDS = r"(?:(?!\bnot\b|\bnor?\b)(?:[^().!?;\n]|\.\d)){0,60}?"
_ABOUT = r"(?:\s+(?:to|for|of)\s[^().!?;:\n]{0,60}?)?"
_CUE = rf"(?i:\banswer|\b(?:correct|right|best)\s+(?:option|choice)){_ABOUT}{_IS}"
_AFTER = (
    rf"(?:{_CUE}{_NOISE}(?:{_BARE}|{_WORDS}{_ROUND})"
    rf"|(?i:\bfinal\s+answer)(?:\s+of\b)?{_NOISE}(?:{_BARE}|{_ROUND})){_ONE_OF_MANY}"
)
_BEFORE = (
    r"(?:(?<![\w'’(])([A-Z])|\(\s*([A-Za-z])\s*\))\s+(?i:is)\s+(?i:the)\s+"
    r"(?i:(?:correct|right|best|final)\s+)*(?i:answer|option|choice)\b(?!\s*[:=])"
)
_STATEMENT = re.compile(rf"{_AFTER}|{_BEFORE}")


def parse_strict(text: str, options: int = 4) -> str | None:
    """The last stated answer, as an upper-case letter; None when there is none.

    Read as statements: "the answer is: (C).", "Final Answer: B", "answer is d", "The answer is:
    green (B)", "(B) is the correct answer". Not read: letters inside words ("Final Answer: Based
    on"), the article ("the answer is a mystery"), several letters at once ("is (A) or (B)"),
    negations. None also when the last statement names a letter beyond the `options` there are.
    """
    letters = [
        letter.upper()
        for statement in _STATEMENT.finditer(text)
        for letter in statement.groups()
        if letter
    ]
    return letters[-1] if letters and ord(letters[-1]) - ord("A") < options else None


_REFERENCE = tuple(
    re.compile(pattern + r"[:\-]?\s*\(?([A-D])\)?", re.IGNORECASE)
    for pattern in (r"answer\s*is", r"final\s*answer", r"correct\s*(?:option|choice|answer)")
)


def parse_reference(text: str) -> str | None:
    """The letter the study's scoring reads in prompt and reply together, in the case it has there.

    The first of three patterns that matches anywhere wins, at its first place, also inside a word:
    "Final Answer: Based on" gives B. Kept as it was, to compare with the study's numbers.
    """
    text = " ".join(text.split())
    for pattern in _REFERENCE:
        if found := pattern.search(text):
            return found[1]
    return None


def option_of(letter: str | None, options: Sequence[str]) -> str:
    """The option an upper-case letter names; "" when it names none, which no answer equals."""
    place = ord(letter) - ord("A") if letter else -1
    return options[place] if 0 <= place < len(options) else ""


PARSERS: dict[str, Callable[[Answered], str | None]] = {
    "strict": lambda row: parse_strict(row.reply, len(row.options)),
    "reference": lambda row: parse_reference(row.prompt + row.reply),
}

# ---- metrics -------------------------------------------------------------------------------------


def puzzle(rows: Sequence[Answered], parser: str = "strict") -> Scored:
    """Letter and correctness of each row: the named option's text equals the answer's.

    Raises:
        ValueError: no rows, or a parser that does not exist.
    """
    if parser not in PARSERS:
        raise ValueError(f"unknown parser {parser!r}: choose one of {', '.join(PARSERS)}")
    if not rows:
        raise ValueError("no rows to score: give at least one")
    letters = tuple(PARSERS[parser](row) for row in rows)
    correct = tuple(
        option_of(letter, row.options) == row.answer
        for letter, row in zip(letters, rows, strict=True)
    )
    return Scored(letters, correct)


def by_kind(
    kinds: Sequence[str], domains: Sequence[str], correct: Sequence[bool]
) -> dict[str, Any]:
    """Accuracies of a task, as `results.json` holds them; rows of a kind need not be together.

    Returns `{"accuracy", "in_domain", "out_of_domain", "kinds": {kind: {"accuracy", "n",
    "domain"}}}`. The first three are means over kinds, each kind counting once whatever its number
    of rows; None for a domain without kinds.

    Raises:
        ValueError: no rows, an unknown domain, or a kind in both domains.
    """
    if not kinds:
        raise ValueError("no rows to average: give at least one")
    entries: dict[str, dict[str, Any]] = {}
    for kind, domain, right in zip(kinds, domains, correct, strict=True):
        if domain not in DOMAINS:
            raise ValueError(f"unknown domain {domain!r} of {kind}: use {' or '.join(DOMAINS)}")
        entry = entries.setdefault(kind, {"accuracy": 0, "n": 0, "domain": domain})
        if entry["domain"] != domain:
            raise ValueError(f"{kind} is in both domains: a kind was trained on or it was not")
        entry["n"] += 1
        entry["accuracy"] += bool(right)
    for entry in entries.values():
        entry["accuracy"] /= entry["n"]

    def mean(*of: str) -> float | None:
        values = [entry["accuracy"] for entry in entries.values() if entry["domain"] in of]
        return sum(values) / len(values) if values else None

    means = {"accuracy": mean(*DOMAINS), **{domain: mean(domain) for domain in DOMAINS}}
    return {**means, "kinds": entries}
