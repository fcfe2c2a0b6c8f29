"""Answered yes/no questions to results: pass@k under both readings, rows to keep."""

from collections.abc import Collection, Sequence
from typing import Any

from mmcot_jax.evals import pass_at_k
from mmcot_jax.evals.answer import Answered
from mmcot_jax.rewards.chains import READINGS, judge


def summarize(
    answered: Sequence[Answered], trained: Collection[str] = ()
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Results by reading, as `results.json` holds them, and one row an answer, for completions.

    A question's answers need not be together. `trained` is of tasks with kinds.
    """
    ids = [a.example.id for a in answered]
    verdicts = {reading: _verdicts(answered, reading) for reading in READINGS}
    results = {
        reading: pass_at_k.summarize(pass_at_k.by_question(ids, found))
        for reading, found in verdicts.items()
    }
    kept = [
        {
            "id": a.example.id,
            "prompt": a.prompt,
            "reply": a.reply.text,
            "answer": a.example.answer,
            "read": READINGS["strict"](a.reply.text),
            "correct": verdict,
            "tokens": a.tokens,
            "ended": a.ended,
        }
        for a, verdict in zip(answered, verdicts["strict"], strict=True)
    ]
    return results, kept


def correct(answered: Sequence[Answered]) -> tuple[bool, ...]:
    """Whether each answer is right, by the strict reading."""
    return tuple(map(bool, _verdicts(answered, "strict")))


def _verdicts(answered: Sequence[Answered], reading: str) -> list[bool | None]:
    return [judge(a.reply.text, a.example.answer, reading) for a in answered]
