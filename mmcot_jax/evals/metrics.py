"""Metrics of rows of strings: a row holds a question's answer and the reply. No jax.

A parser reads the answer out of a reply: "strict" is ours, "reference" the study's.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mmcot_jax.answers import think_answer
from mmcot_jax.answers.letter import LETTERS, option_of, parse_reference, parse_strict
from mmcot_jax.boxes import Box, Number, match, parse
from mmcot_jax.errors import check_choice

DOMAINS = ("in_domain", "out_of_domain")
"""Kinds of puzzles that were trained on, and kinds that were not."""


class Choice(NamedTuple):
    """A multiple-choice question and the model's reply."""

    options: tuple[str, ...]
    """Up to 26, named A, B, ... in this order."""
    answer: str
    """The text of the right option."""
    reply: str
    """The model's text, without the prompt."""
    prompt: str = ""


class ChoiceScores(NamedTuple):
    """The letters and verdicts of rows, in their order."""

    letters: tuple[str | None, ...]
    """The letter as the parser read it; None if it found none."""
    correct: tuple[bool, ...]

    @property
    def accuracy(self) -> float:
        """The share of correct rows, 0..1; a row without a letter is wrong."""
        return sum(self.correct) / len(self.correct)


PARSERS: dict[str, Callable[[Choice], str | None]] = {
    "strict": lambda row: parse_strict(row.reply, len(row.options)),
    "reference": lambda row: parse_reference(row.prompt + row.reply),
}


def puzzle(rows: Sequence[Choice], parser: str = "strict") -> ChoiceScores:
    """Reads the letter of each row; correct if the text of its option equals the answer.

    Raises:
        ValueError: no rows, or an unknown parser.
    """
    check_choice("parser", parser, PARSERS)
    read = PARSERS[parser]
    if not rows:
        raise ValueError("no rows to score: give at least one")
    letters = tuple(read(row) for row in rows)
    correct = tuple(
        option_of(letter, row.options) == row.answer
        for letter, row in zip(letters, rows, strict=True)
    )
    return ChoiceScores(letters, correct)


def by_kind(
    kinds: Sequence[str], domains: Sequence[str], correct: Sequence[bool]
) -> dict[str, Any]:
    """Returns the accuracies of a task, as `results.json` holds them.

    `{"accuracy", "in_domain", "out_of_domain", "kinds": {kind: {"accuracy", "n", "domain"}}}`. The
    first three are means over kinds, in which each kind counts once whatever its number of rows;
    None for a domain without kinds. Rows of a kind need not be adjacent.

    Raises:
        ValueError: no rows, an unknown domain, or a kind in both domains.
    """
    if not kinds:
        raise ValueError("no rows to average: give at least one")
    entries: dict[str, dict[str, Any]] = {}
    for kind, domain, verdict in zip(kinds, domains, correct, strict=True):
        if domain not in DOMAINS:
            raise ValueError(f"domain of {kind} is {domain!r}; choose {' or '.join(DOMAINS)}")
        entry = entries.setdefault(kind, {"accuracy": 0, "n": 0, "domain": domain})
        if entry["domain"] != domain:
            raise ValueError(f"{kind} is in both domains: a kind was trained on or it was not")
        entry["n"] += 1
        entry["accuracy"] += bool(verdict)
    for entry in entries.values():
        entry["accuracy"] /= entry["n"]

    def mean(*of: str) -> float | None:
        values = [entry["accuracy"] for entry in entries.values() if entry["domain"] in of]
        return sum(values) / len(values) if values else None

    means = {"accuracy": mean(*DOMAINS), **{domain: mean(domain) for domain in DOMAINS}}
    return {**means, "kinds": entries}


# ---- answers in tags -----------------------------------------------------------------------------


class Tagged(NamedTuple):
    """The right answers to a question, and a reply that answers in `<answer>`."""

    gold: tuple[str, ...]
    """Multiple choice: one string with all right letters, "B, C". Short: all right answers."""
    reply: str
    options: int = len(LETTERS)
    """Number of options; letters beyond it are none."""
    texts: tuple[str, ...] = ()
    """The options, where they are known: a reply may quote one after its letter."""


class Pooled(NamedTuple):
    """Answers and their scores in percent, over all rows together (micro-averaged)."""

    answers: tuple[tuple[str, ...], ...]
    """The answers read in each row, sorted."""
    correct: tuple[bool, ...]
    """True for a row whose answers are exactly the right ones."""
    scores: dict[str, float]
    """The share of correct rows ("exam_score" of letters, "accuracy" of short answers),
    "precision", "recall" and "f1_score": the study's names."""


def _named(answer: str, row: Tagged) -> frozenset[str]:
    if row.texts:
        return think_answer.named_options(answer, row.texts)
    return think_answer.option_letters(answer, row.options)


LETTER_PARSERS: dict[str, Callable[[str, Tagged], frozenset[str]]] = {
    "strict": _named,
    "reference": lambda answer, _: frozenset(re.findall(r"[A-D]|\(\d++\)", answer)),
}
"""(answer, its row) -> letters, by parser: the study reads A to D, also inside words."""

NORMALIZERS: dict[str, Callable[[str], str]] = {
    "strict": think_answer.normalize,
    "reference": lambda answer: answer.lower().strip(),
}
"""The normal form in which short answers are compared, by parser."""


def multiple_choice(rows: Sequence[Tagged], parser: str = "strict") -> Pooled:
    """Compares the letters read with the right ones; no answer is no letter.

    Raises:
        ValueError: an unknown parser.
    """
    check_choice("parser", parser, LETTER_PARSERS)
    letters = LETTER_PARSERS[parser]
    gold = [letters(row.gold[0], row) for row in rows]
    found = [letters(think_answer.read_answer(row.reply) or "", row) for row in rows]
    return _pool(gold, found, "exam_score")


def short_answer(rows: Sequence[Tagged], parser: str = "strict") -> Pooled:
    """Compares one answer a row with all right ones.

    Raises:
        ValueError: an unknown parser.
    """
    check_choice("parser", parser, NORMALIZERS)
    normalize = NORMALIZERS[parser]

    def read(row: Tagged) -> frozenset[str]:
        answer = think_answer.read_answer(row.reply)
        if answer is None:
            return frozenset()
        right = [normalize(one) for one in row.gold]
        return frozenset({right[0] if normalize(answer) in right else normalize(answer)})

    gold = [frozenset({normalize(row.gold[0])}) for row in rows]
    return _pool(gold, [read(row) for row in rows], "accuracy")


def _pool(gold: Sequence[frozenset[str]], found: Sequence[frozenset[str]], exact: str) -> Pooled:
    pairs = list(zip(gold, found, strict=True))
    correct = tuple(g == f for g, f in pairs)
    hits = sum(len(g & f) for g, f in pairs)
    precision = _share(hits, sum(map(len, found)))
    recall = _share(hits, sum(map(len, gold)))
    f1 = _share(2 * precision * recall, precision + recall)
    shares = {exact: _share(sum(correct), len(pairs)), "precision": precision, "recall": recall}
    scores = {name: 100 * share for name, share in (shares | {"f1_score": f1}).items()}
    if exact == "exam_score":  # 100 * k / n in the study: 100 * 1 / 3 is not 100 * (1 / 3)
        scores[exact] = _share(100 * sum(correct), len(pairs))
    return Pooled(tuple(tuple(sorted(f)) for f in found), correct, scores)


def _share(part: Number, of: Number) -> float:
    return part / of if of else 0.0


# ---- boxes ---------------------------------------------------------------------------------------


def boxes(gold: Sequence[Sequence[Box]], replies: Sequence[str]) -> dict[str, Number] | None:
    """Returns scores of the boxes in `<think>`, over rows that have gold boxes; None without any.

    All are 0..1. `parse_rate`: the share of replies with a box. `iou`: the mean of the reward of
    that name. `recall@0.5`: the share of gold boxes matched with an IoU of at least 0.5.
    `whole_image_rate`: the share of the replies' boxes that cover nearly the whole picture.
    """
    rows = [
        (right, parse(think_answer.read_thought(reply), right[0].space))
        for right, reply in zip(gold, replies, strict=True)
        if right
    ]
    if not rows:
        return None
    matches = [match(found, right) for right, found in rows]
    all_found = [box for _, found in rows for box in found]
    hits = sum(iou >= 0.5 for pairs in matches for *_, iou in pairs)
    ious = [
        2 * sum(iou for *_, iou in pairs) / (len(right) + len(found))
        for pairs, (right, found) in zip(matches, rows, strict=True)
    ]
    return {
        "n": len(rows),
        "parse_rate": sum(bool(found) for _, found in rows) / len(rows),
        "iou": sum(ious) / len(rows),
        "recall@0.5": hits / sum(len(right) for right, _ in rows),
        "whole_image_rate": _share(sum(box.covers_image for box in all_found), len(all_found)),
    }
