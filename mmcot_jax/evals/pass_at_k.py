"""pass@k: the probability that one of k answers to a question is correct, from n sampled ones.

No jax. Source: arXiv 2107.03374 eq. 1.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

KS = (1, 3)
"""Values of k to report, if every question has that many answers."""


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Returns 1 - C(n - correct, k) / C(n, k): unbiased over which k of the n are taken.

    Raises:
        ValueError: fewer than k answers, or more correct ones than there are.
    """
    if not 1 <= k <= n or not 0 <= correct <= n:
        raise ValueError(f"pass@{k} of {n} answers, {correct} correct: give at least {max(k, 1)}")
    return 1 - math.comb(n - correct, k) / math.comb(n, k)


def summarize(verdicts: Sequence[Sequence[bool | None]]) -> dict[str, Any]:
    """Returns pass@k of questions.

    Args:
        verdicts: of each question, one a sample; None (no answer was found) counts as wrong.

    Returns:
        `{"n", "samples", "pass@1", "pass@3", "unanswered"}`: number of questions, fewest samples
        of one, means over questions 0..1, share of samples without an answer.

    Raises:
        ValueError: no question, or one without a sample.
    """
    if not verdicts or not all(map(len, verdicts)):
        raise ValueError(
            "a question has no sample, or there is no question; sample each at least once"
        )
    fewest = min(map(len, verdicts))
    pooled = [verdict for question in verdicts for verdict in question]
    means = {
        f"pass@{k}": statistics.fmean(pass_at_k(len(q), sum(map(bool, q)), k) for q in verdicts)
        for k in KS
        if k <= fewest
    }
    missing = sum(verdict is None for verdict in pooled) / len(pooled)
    return {"n": len(verdicts), "samples": fewest, **means, "unanswered": missing}


def by_question(ids: Sequence[str], verdicts: Sequence[bool | None]) -> list[list[bool | None]]:
    """Groups verdicts by id, in the order in which the ids first occur."""
    found: dict[str, list[bool | None]] = {}
    for id, verdict in zip(ids, verdicts, strict=True):
        found.setdefault(id, []).append(verdict)
    return list(found.values())


def stored(record: Mapping[str, Any]) -> list[list[bool | None]]:
    """Returns the verdicts of the study's file: question number -> a list of true, false or null.

    Raises:
        ValueError: the content is another.
    """
    for number, verdicts in record.items():
        valid = isinstance(verdicts, list) and all(isinstance(v, bool | None) for v in verdicts)
        if not valid or not verdicts:
            raise ValueError(
                f"question {number!r} has {verdicts!r:.60}; true, false or null for each of its "
                "answers is expected"
            )
    if not record:
        raise ValueError("no question; number -> true, false or null each is expected")
    return list(record.values())
