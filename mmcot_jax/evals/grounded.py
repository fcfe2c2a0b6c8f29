"""Evaluates answers about pictures: answers in tags, boxes in thoughts."""

from collections.abc import Sequence
from typing import Any

from mmcot_jax.answers.think_answer import (
    is_correct,
    normalize,
    read_answer,
    read_thought,
    right_answers,
)
from mmcot_jax.boxes import parse
from mmcot_jax.evals import metrics
from mmcot_jax.example import Answered, Example


def summarize(answered: Sequence[Answered]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns the results for `results.json`, and one row a question for completions.

    `{"multiple_choice" or "short_answer": {"strict", "reference"}, "boxes": {...}, "kinds": {kind:
    {"accuracy", "n"}}}`, both of the first two if some questions have options and others none.
    Answers are in percent, boxes and kinds 0..1. "boxes" and "kinds" are there if questions have
    some.
    """
    verdicts = correct(answered)
    read: dict[int, Sequence[str]] = {}
    scores: dict[str, Any] = {}
    for metric, score in (
        ("multiple_choice", metrics.multiple_choice),
        ("short_answer", metrics.short_answer),
    ):
        chosen = [i for i, a in enumerate(answered) if _metric(a.example) == metric]
        if chosen:
            tagged = [_tagged(answered[i].example, answered[i].reply.text) for i in chosen]
            pooled = {parser: score(tagged, parser) for parser in metrics.LETTER_PARSERS}
            scores[metric] = {parser: scored.scores for parser, scored in pooled.items()}
            read |= dict(zip(chosen, pooled["strict"].answers, strict=True))
    results: dict[str, Any] = {
        **scores,
        "boxes": metrics.boxes(
            [a.example.extra.get("boxes", ()) for a in answered], [a.reply.text for a in answered]
        ),
        "kinds": _by_kind([a.example.extra.get("kind") for a in answered], verdicts),
    }
    rows = [
        row(a, read[i], verdict)
        for i, (a, verdict) in enumerate(zip(answered, verdicts, strict=True))
    ]
    return {name: value for name, value in results.items() if value}, rows


def correct(answered: Sequence[Answered]) -> tuple[bool, ...]:
    """Returns whether each answer is correct, by the same rule as the reward `tagged_accuracy`."""
    return tuple(is_correct(read_answer(a.reply.text), a.example) for a in answered)


def answers(answered: Sequence[Answered]) -> tuple[str | None, ...]:
    """Returns the content of each reply's <answer> as it is compared, or None without one."""
    read = [read_answer(a.reply.text) for a in answered]
    return tuple(None if text is None else normalize(text) for text in read)


def _metric(example: Example) -> str:
    return "multiple_choice" if example.extra.get("options") else "short_answer"


def _tagged(example: Example, reply: str) -> metrics.Tagged:
    options = tuple(example.extra.get("options", ()))
    gold = (example.answer,) if options else right_answers(example)
    return metrics.Tagged(gold, reply, len(options), options)


def _by_kind(kinds: Sequence[str | int | float | None], verdicts: Sequence[bool]) -> dict[str, Any]:
    found: dict[str, list[bool]] = {}
    for kind, verdict in zip(kinds, verdicts, strict=True):
        if kind is not None:
            found.setdefault(str(kind), []).append(verdict)
    return {kind: {"accuracy": sum(of) / len(of), "n": len(of)} for kind, of in found.items()}


def row(answered: Answered, read: Sequence[str], verdict: bool) -> dict[str, Any]:
    """Returns a question's row for completions; a question without a picture has no boxes."""
    example, text = answered.example, answered.reply.text
    extra = example.extra
    return {
        "id": example.id,
        "kind": extra.get("kind"),
        "prompt": answered.prompt,
        "reply": text,
        "options": list(extra.get("options", ())),
        "answer": example.answer,
        "possible_answers": list(right_answers(example)),
        "answers": list(read),
        "correct": verdict,
        **boxes_of(example, text),
        "tokens": answered.tokens,
        "ended": answered.ended,
    }


def boxes_of(example: Example, text: str) -> dict[str, Any]:
    """Returns the boxes of a reply's chain and those of the question, and their frame."""
    space = example.extra.get("space")
    boxes = parse(read_thought(text), space) if space else []
    return {
        "space": list(space) if space else None,
        "boxes": [[box.label, *box.corners] for box in boxes],
        "gold_boxes": [[box.label, *box.corners] for box in example.extra.get("boxes", ())],
    }
