"""The number that stands for a set in the figure of a series."""

import pathlib

import pytest
from helpers.readers import EXAMPLE

from mmcot_jax import evals
from mmcot_jax.example import Answered, Reply
from mmcot_jax.report.runs import Run
from mmcot_jax.report.series import figure_lines, headlines


@pytest.mark.parametrize("name", evals.names())
def test_every_judge_has_a_number_for_the_figure(name):
    answered = [Answered(EXAMPLE, Reply(("<answer>A</answer>",)), "?", 1, True)]
    results, _ = evals.get(name).summarize(answered)
    ((_, value),) = headlines({"set": results}).items()
    assert 0 <= value <= 100


def test_the_figure_shows_the_last_stage_whichever_was_evaluated_first():
    def row(stage, step, value):
        results = {"set": {"strict": {"pass@1": value}}}
        return {"stage": stage, "step": step, "total_steps": 100, "results": results}

    grpo, sft = [row("grpo", 50, 0.5), row("grpo", 100, 0.6)], [row("sft", 100, 0.2)]
    config = {"stages": ["sft", "eval", "grpo", "eval"]}
    runs = [Run("r", pathlib.Path(), config, {}, {}, rows) for rows in (sft + grpo, grpo + sft)]
    first, second = (figure_lines([run]) for run in runs)
    assert first == second == {"set/strict/pass@1": {"r": [(50.0, 50.0), (100.0, 60.0)]}}
