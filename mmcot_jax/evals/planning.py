"""Scores ways through grids: exact match, progress rate, illegal steps, by side. Host only.

A task's results are those of all questions, of the sides that training saw and of the others, and
of each side. Source of the scores: arXiv 2505.11409.
"""

import statistics
from collections.abc import Sequence
from typing import Any

from mmcot_jax.example import Answered
from mmcot_jax.grids import name, steps

NEEDS_IMAGES = True
"""`correct` and `answers` read the pixels of drawn states."""

Judged = list[tuple[Answered, steps.Steps]]


def summarize(answered: Sequence[Answered]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns the results for `results.json`, and one row an answer for completions."""
    judged = _judged(answered)
    results: dict[str, Any] = _scores(judged)
    for domain in ("seen", "unseen"):
        if of := [pair for pair in judged if pair[0].example.extra["domain"] == domain]:
            results[domain] = _scores(of)
    sides = sorted({a.example.extra["side"] for a in answered})
    results["sides"] = {
        str(side): _scores([pair for pair in judged if pair[0].example.extra["side"] == side])
        for side in sides
    }
    return results, [_row(*pair) for pair in judged]


def _scores(judged: Judged) -> dict[str, float | int]:
    """Means over questions, but for `illegal_steps`, a share of all steps.

    `exact_match`: by a shortest path; `goal`: by any legal path; `illegal`: paths with an illegal
    step; `unreadable`: paths that end in a picture of no state.
    """
    found = [s for _, s in judged]
    total = sum(len(s.verdicts) for s in found)
    return {
        "exact_match": statistics.fmean(s.exact for s in found),
        "goal": statistics.fmean(s.reached for s in found),
        "progress_rate": statistics.fmean(s.progress_rate for s in found),
        "illegal": statistics.fmean(s.illegal for s in found),
        "illegal_steps": sum(s.illegal for s in found) / total if total else 0.0,
        "unreadable": statistics.fmean(s.unreadable for s in found),
        "steps": total / len(found),
        "n": len(found),
    }


def _row(answered: Answered, found: steps.Steps) -> dict[str, Any]:
    extra = answered.example.extra
    return {
        "id": answered.example.id,
        "side": extra["side"],
        "domain": extra["domain"],
        "grid": list(extra["grid"].rows),
        "goal": name(extra["grid"].goal),
        "prompt": answered.prompt,
        "reply": answered.reply.text,
        "answer": answered.example.answer,
        "path": [name(cell) for cell in found.cells],
        "shortest": found.shortest,
        "illegal": found.illegal,
        "unreadable": found.unreadable,
        "goal_reached": found.reached,
        "progress_rate": found.progress_rate,
        "correct": found.exact,
        "tokens": answered.tokens,
        "ended": answered.ended,
    }


def correct(answered: Sequence[Answered]) -> tuple[bool, ...]:
    """Returns whether each answer is a shortest path to the goal."""
    return tuple(found.exact for _, found in _judged(answered))


def answers(answered: Sequence[Answered]) -> tuple[str | None, ...]:
    """Returns the cells of each path, as "a1 b1 b2"; None for one without a legal step."""
    return tuple(
        " ".join(map(name, found.cells)) if len(found.cells) > 1 else None
        for _, found in _judged(answered)
    )


def _judged(answered: Sequence[Answered]) -> Judged:
    return [(a, steps.of(a.example, a.reply)) for a in answered]
