"""Scores of ways through grids."""

import pytest

from mmcot_jax import evals
from mmcot_jax.evals import planning
from mmcot_jax.example import Answered, Example, Reply
from mmcot_jax.grids import Grid

GRID = Grid(("..x", "...", "x.."), (0, 0), (2, 2), True)
LARGE = Grid(("....", "....", "....", "...."), (0, 0), (0, 2), True)


def answered(grid, domain, reply):
    extra = {"grid": grid, "canvas": None, "side": grid.side, "domain": domain}
    return Answered(Example("x", (), "4", extra=extra), Reply((reply,)), "Path:", 9, True)


ANSWERED = [
    answered(GRID, "seen", " right b1 down b2 down b3 right c3"),
    answered(GRID, "seen", " down a2 up a1 up"),
    answered(LARGE, "unseen", " down a2 right b2 right c2 up c1"),
    answered(LARGE, "unseen", " right"),
]


def test_scores_are_means_by_side_and_domain():
    results, rows = planning.summarize(ANSWERED)
    assert results["exact_match"] == 0.25 and results["goal"] == 0.5
    assert results["progress_rate"] == pytest.approx((1 + 0.25 + 0 + 0.5) / 4)
    assert results["illegal"] == 0.25 and results["illegal_steps"] == pytest.approx(1 / 12)
    assert results["seen"]["exact_match"] == 0.5 and results["unseen"]["exact_match"] == 0.0
    assert set(results["sides"]) == {"3", "4"} and results["sides"]["4"]["goal"] == 0.5
    assert rows[0]["path"] == ["a1", "b1", "b2", "b3", "c3"] and rows[0]["correct"]
    assert [row["correct"] for row in rows] == list(planning.correct(ANSWERED))


def test_an_answer_is_a_path():
    assert planning.answers(ANSWERED[1:2]) == ("a1 a2 a1",)
    assert planning.answers([answered(GRID, "seen", " left a1")]) == (None,)
    assert evals.get("planning", "").NEEDS_IMAGES
