"""Metrics on plain rows: text and strings in, numbers out. No jax.

A row holds what was asked and what was written; a parser of `rewards.text` reads the chosen letter.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mmcot_jax.rewards.text import option_of, parse_reference, parse_strict

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
