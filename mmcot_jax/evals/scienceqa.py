"""Evaluates ScienceQA: accuracy of letters, by subject, context and grade.

Source: arXiv 2209.09513 and its `evaluations.py`.
"""

from collections.abc import Sequence
from typing import Any

from mmcot_jax.evals import _benchmark as benchmark
from mmcot_jax.evals.exact_match import correct
from mmcot_jax.example import Answered

__all__ = ["correct", "summarize"]


def summarize(answered: Sequence[Answered]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns the results for `results.json`, and one row a question for completions.

    `{"official": {"accuracy", "n", "unanswered", "by_subject", "by_context", "by_grade"},
    "llava_agreement"}`, in percent.
    """
    scores = [float(verdict) for verdict in correct(answered)]
    results = benchmark.results(benchmark.accuracies(answered, scores), answered)
    return results, benchmark.rows("scienceqa", answered, scores)
