"""The report of the groups sampled before the first step."""

import pathlib

import numpy as np
import pytest

from mmcot_jax.example import Row
from mmcot_jax.rewards.results import Failure, RewardResult, failure_mask
from mmcot_jax.train.groups import all_right_all_wrong
from mmcot_jax.train.preflight import Preflight, batch_summary, failure_lines


def test_a_group_that_differs_is_enough_to_learn_from():
    Preflight(groups=8, right=4, wrong=3, informative=1, lines=()).check()
    with pytest.raises(ValueError, match=r"in all 8 groups .* equal \(5 all right, 3 all wrong\)"):
        Preflight(groups=8, right=5, wrong=3, informative=0, lines=()).check()


def test_a_reward_that_scores_nothing_stops_the_run_whatever_the_others_do():
    line = "reward f failed on 16 of 16 samples, first on question 'q', reply 0: TypeError: no"
    found = Preflight(
        groups=8, right=0, wrong=0, informative=8, lines=(), failed=(line,), useless=(line,)
    )
    with pytest.raises(ValueError, match=f"^{line}. Fix it, or take it out of reward_funcs"):
        found.check()
    with pytest.raises(ValueError, match=f"equal .*{line}; mend it, or take it out"):
        found._replace(informative=0, useless=()).check()
    found._replace(useless=()).check()


def test_failed_samples_are_told_apart_from_wrong_ones():
    own = pathlib.Path(__file__).parents[1] / "rewards" / "some_rewards.py"
    names = ("accuracy", f"{own}:trl_length", f"{own}:length", "format")
    c = {"reward_funcs": names, "num_generations": 2, "chat": False}
    kinds = [("trl_length", row, "raised", f"TypeError: no {row}") for row in range(4)]
    kinds.append(("length", 3, "timeout", "no value"))
    values = np.array([[0, np.nan, 1, np.nan]] * 3 + [[0, np.nan, np.nan, np.nan]])
    result = RewardResult(values, tuple(Failure(*kind) for kind in kinds))
    mask = failure_mask(result, ("accuracy", "trl_length", "length", "format"))
    tokens = np.zeros(3, np.int32)
    rows = [Row(id, tokens, tokens[None], tokens > 0) for id in ("q0", "q1")]
    failed, useless = failure_lines(result, values.reshape(2, 2, 4), mask, c, rows)
    assert failed == (
        "reward trl_length failed on 4 of 4 samples, first on question 'q0', reply 0: TypeError: "
        "no 0 (grpo.chat is False; auto finds out whether a function reads messages)",
        "reward length failed on 1 of 4 samples, first on question 'q1', reply 1: no value",
        "reward format returned None for all 4 samples",
    )
    assert useless == failed[:1]
    right, wrong = all_right_all_wrong(values.reshape(2, 2, 4)[..., 1])
    assert not right.any() and not wrong.any()


def test_the_batch_in_one_line():
    c = {"prompts_per_step": 8, "num_generations": 4, "gradient_accumulation_steps": 2}
    expected = "8 prompts x 4 generations = 32 sequences = 4 per device x 4 devices x 2"
    assert batch_summary(c, devices=4) == expected
