"""Answered pictured questions to results: answers in tags, boxes in chains, rows to keep."""

from collections.abc import Collection, Sequence
from typing import Any

from mmcot_jax.boxes import parse
from mmcot_jax.evals import metrics
from mmcot_jax.evals.answer import Answered
from mmcot_jax.rewards import tags


def summarize(
    answered: Sequence[Answered], trained: Collection[str] = ()
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Results, as `results.json` holds them, and one row a question, for completions.

    `{"multiple_choice" or "short_answer": {"strict", "reference"}, "boxes": {...}, "kinds": {kind:
    {"accuracy", "n"}}}`; answers in percent, boxes and kinds 0..1, "kinds" where questions have
    some. `trained` is of tasks whose kinds differ in domain.
    """
    metric = "multiple_choice" if answered[0].example.extra["options"] else "short_answer"
    scored = {parser: _score(metric, answered, parser) for parser in metrics.LETTERS}
    right = correct(answered)
    results: dict[str, Any] = {
        metric: {
            parser: pooled.scores("exam_score" if metric == "multiple_choice" else "accuracy")
            for parser, pooled in scored.items()
        },
        "boxes": metrics.boxes(
            [a.example.extra["boxes"] for a in answered], [a.reply.text for a in answered]
        ),
        "kinds": _by_kind([a.example.extra.get("kind") for a in answered], right),
    }
    kept = [
        _row(a, read, verdict)
        for a, read, verdict in zip(answered, scored["strict"].answers, right, strict=True)
    ]
    return {name: found for name, found in results.items() if found}, kept


def correct(answered: Sequence[Answered]) -> tuple[bool, ...]:
    """Whether each answer is right, as the reward of tagged answers has it."""
    return tuple(tags.right(tags.answered(a.reply.text), a.example) for a in answered)


def _score(metric: str, answered: Sequence[Answered], parser: str) -> metrics.Pooled:
    if metric == "multiple_choice":
        rows = [metrics.Tagged((a.example.answer,), a.reply.text) for a in answered]
        return metrics.multiple_choice(rows, parser)
    rows = [
        metrics.Tagged(tuple(a.example.extra["possible_answers"]), a.reply.text) for a in answered
    ]
    return metrics.short_answer(rows, parser)


def _by_kind(kinds: Sequence[str | None], right: Sequence[bool]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in dict.fromkeys(kinds):
        verdicts = [r for k, r in zip(kinds, right, strict=True) if k == kind]
        if kind is not None:
            found[kind] = {"accuracy": sum(verdicts) / len(verdicts), "n": len(verdicts)}
    return found


def _row(answered: Answered, read: Sequence[str], right: bool) -> dict[str, Any]:
    example, text = answered.example, answered.reply.text
    extra = example.extra
    space = extra["space"]
    return {
        "id": example.id,
        "kind": extra.get("kind"),
        "prompt": answered.prompt,
        "reply": text,
        "options": list(extra["options"]),
        "answer": example.answer,
        "possible_answers": list(extra["possible_answers"]),
        "answers": list(read),
        "correct": right,
        "space": list(space),
        "boxes": [[box.label, *box.corners] for box in parse(tags.thought(text), space)],
        "gold_boxes": [[box.label, *box.corners] for box in extra["boxes"]],
        "tokens": answered.tokens,
        "ended": answered.ended,
    }
