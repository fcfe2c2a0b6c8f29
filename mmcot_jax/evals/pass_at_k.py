"""pass@k: the chance that one of k answers to a question is right, from n that were sampled.

No jax. Source: arXiv 2107.03374 eq. 1.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

KS = (1, 3)
"""Reported where every question has that many answers."""


def pass_at_k(n: int, right: int, k: int) -> float:
    """1 - C(n - right, k) / C(n, k): unbiased over which k of the n are taken.

    Raises:
        ValueError: fewer than k answers, or more right ones than there are.
    """
    if not 1 <= k <= n or not 0 <= right <= n:
        raise ValueError(f"pass@{k} of {n} answers, {right} right: give at least {max(k, 1)}")
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def summarize(verdicts: Sequence[Sequence[bool | None]]) -> dict[str, Any]:
    """A question's verdicts each, None where no answer was found, which is wrong.

    Returns `{"n", "samples", "pass@1", "pass@3", "unanswered"}`: questions, the fewest answers to
    one, means over questions 0..1, the share of answers that were not found.

    Raises:
        ValueError: no question, or one without an answer.
    """
    if not verdicts or not all(map(len, verdicts)):
        raise ValueError(
            "a question without an answer, or none at all: sample at least one of each"
        )
    fewest = min(map(len, verdicts))
    every = [verdict for question in verdicts for verdict in question]
    means = {
        f"pass@{k}": _mean([pass_at_k(len(q), sum(map(bool, q)), k) for q in verdicts])
        for k in KS
        if k <= fewest
    }
    missing = sum(verdict is None for verdict in every) / len(every)
    return {"n": len(verdicts), "samples": fewest, **means, "unanswered": missing}


def by_question(ids: Sequence[str], verdicts: Sequence[bool | None]) -> list[list[bool | None]]:
    """The verdicts of each id, in the order in which the ids are first seen."""
    found: dict[str, list[bool | None]] = {}
    for id, verdict in zip(ids, verdicts, strict=True):
        found.setdefault(id, []).append(verdict)
    return list(found.values())


def stored(record: Mapping[str, Any]) -> list[list[bool | None]]:
    """The study's file: one object, question number -> a list of true, false or null each.

    Raises:
        ValueError: another content.
    """
    for number, verdicts in record.items():
        known = isinstance(verdicts, list) and all(
            v is None or v is True or v is False for v in verdicts
        )
        if not known or not verdicts:
            raise ValueError(
                f"question {number!r} has {verdicts!r:.60}; true, false or null for each of its "
                "answers is expected"
            )
    if not record:
        raise ValueError("no question; number -> true, false or null each is expected")
    return list(record.values())


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
