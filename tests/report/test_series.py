"""The number that stands for a set in the figure of a series."""

import pytest
from helpers.readers import EXAMPLE

from mmcot_jax import evals
from mmcot_jax.example import Answered, Reply
from mmcot_jax.report.series import headlines


@pytest.mark.parametrize("name", evals.names())
def test_every_judge_has_a_number_for_the_figure(name):
    answered = [Answered(EXAMPLE, Reply(("<answer>A</answer>",)), "?", 1, True)]
    results, _ = evals.get(name).summarize(answered)
    ((_, value),) = headlines({"set": results}).items()
    assert 0 <= value <= 100
