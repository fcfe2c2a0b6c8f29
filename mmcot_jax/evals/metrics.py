"""Metrics on plain rows: text and strings in, numbers out. No jax.

A row holds what was asked and what was written. A parser reads the answer: "strict" is ours,
"reference" the study's.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mmcot_jax.answers import think_answer
from mmcot_jax.answers.letter import option_of, parse_reference, parse_strict
from mmcot_jax.boxes import Box, Number, match, parse

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


PARSERS: dict[str, Callable[[Answered], str | None]] = {
    "strict": lambda row: parse_strict(row.reply, len(row.options)),
    "reference": lambda row: parse_reference(row.prompt + row.reply),
}


def puzzle(rows: Sequence[Answered], parser: str = "strict") -> Scored:
    """Letter and correctness of each row: the named option's text equals the answer's.

    Raises:
        ValueError: no rows, or a parser that does not exist.
    """
    read = PARSERS[_known(parser)]
    if not rows:
        raise ValueError("no rows to score: give at least one")
    letters = tuple(read(row) for row in rows)
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


# ---- answers in tags -----------------------------------------------------------------------------


class Tagged(NamedTuple):
    """A question's right answers and the reply, which answers in `<answer>`."""

    gold: tuple[str, ...]
    """Multiple choice: one text with all right letters, "B, C". Short: every answer that is one."""
    reply: str


class Pooled(NamedTuple):
    """What was read and how well it fits, in percent, as the study counts."""

    answers: tuple[tuple[str, ...], ...]
    """Of each row, sorted; empty where none was read."""
    correct: tuple[bool, ...]
    """Rows whose answers are exactly the right ones."""
    exact: float
    """Share of correct rows."""
    precision: float
    """Over all answers of all rows together."""
    recall: float
    f1: float

    def scores(self, exact: str) -> dict[str, float]:
        """The four numbers by the study's names; `exact` names the first."""
        return {
            exact: self.exact,
            "precision": self.precision,
            "recall": self.recall,
            "f1_score": self.f1,
        }


def _letters_reference(text: str) -> frozenset[str]:
    answer = think_answer.read_answer(text)
    return frozenset(re.findall(r"[A-D]|\(\d+\)", answer) if answer is not None else ())


def _letters(text: str) -> frozenset[str]:
    return think_answer.option_letters(think_answer.read_answer(text) or "")


LETTERS: dict[str, Callable[[str], frozenset[str]]] = {
    "strict": _letters,
    "reference": _letters_reference,
}
"""Which options a text with an `<answer>` names: the study reads every A to D, in words too."""

SHORT: dict[str, Callable[[str], str]] = {
    "strict": think_answer.normalize,
    "reference": lambda answer: answer.lower().strip(),
}
"""A short answer as it is compared."""


def multiple_choice(rows: Sequence[Tagged], parser: str = "strict") -> Pooled:
    """Letters read against letters asked for; no answer is no letter.

    Raises:
        ValueError: a parser that does not exist.
    """
    read = LETTERS[_known(parser)]
    gold = [read(f"<answer>{row.gold[0]}</answer>") for row in rows]
    return _pool(gold, [read(row.reply) for row in rows])


def short_answer(rows: Sequence[Tagged], parser: str = "strict") -> Pooled:
    """One answer each, right where it is one of the row's; no answer is none.

    Raises:
        ValueError: a parser that does not exist.
    """
    read = SHORT[_known(parser)]

    def found(row: Tagged) -> frozenset[str]:
        answer = think_answer.read_answer(row.reply)
        if answer is None:
            return frozenset()
        known = [read(one) for one in row.gold]
        return frozenset({known[0] if read(answer) in known else read(answer)})

    return _pool([frozenset({read(row.gold[0])}) for row in rows], [found(row) for row in rows])


def _known(parser: str) -> str:
    if parser not in PARSERS:
        raise ValueError(f"unknown parser {parser!r}: choose one of {', '.join(PARSERS)}")
    return parser


def _pool(gold: Sequence[frozenset[str]], found: Sequence[frozenset[str]]) -> Pooled:
    pairs = list(zip(gold, found, strict=True))
    correct = tuple(g == f for g, f in pairs)
    hits = sum(len(g & f) for g, f in pairs)
    precision = _share(hits, sum(map(len, found)))
    recall = _share(hits, sum(map(len, gold)))
    f1 = _share(2 * precision * recall, precision + recall)
    shares = (_share(sum(correct), len(pairs)), precision, recall, f1)
    return Pooled(tuple(tuple(sorted(f)) for f in found), correct, *(100 * x for x in shares))


def _share(part: Number, of: Number) -> float:
    return part / of if of else 0.0


# ---- boxes ---------------------------------------------------------------------------------------


def boxes(gold: Sequence[Sequence[Box]], replies: Sequence[str]) -> dict[str, Number] | None:
    """How well replies say where things are, 0..1, over rows that have boxes; None without any.

    `parse_rate`: replies with a box in `<think>`. `iou`: mean of the reward of that name.
    `recall@0.5`: of all boxes asked for. `whole_image_rate`: of all boxes written, those of nearly
    the whole picture.
    """
    rows = [
        (asked, parse(think_answer.read_thought(reply), asked[0].space))
        for asked, reply in zip(gold, replies, strict=True)
        if asked
    ]
    if not rows:
        return None
    pairs = [match(found, asked) for asked, found in rows]
    written = [box for _, found in rows for box in found]
    near = sum(value >= 0.5 for pair in pairs for *_, value in pair)
    worth = [
        2 * sum(value for *_, value in pair) / (len(asked) + len(found))
        for pair, (asked, found) in zip(pairs, rows, strict=True)
    ]
    return {
        "n": len(rows),
        "parse_rate": sum(bool(found) for _, found in rows) / len(rows),
        "iou": sum(worth) / len(rows),
        "recall@0.5": near / sum(len(asked) for asked, _ in rows),
        "whole_image_rate": _share(sum(box.covers_image for box in written), len(written)),
    }
