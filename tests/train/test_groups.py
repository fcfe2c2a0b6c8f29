"""Rewards of two groups of two, by hand."""

import numpy as np
import pytest

from mmcot_jax import mesh as meshes
from mmcot_jax.train.groups import all_right_all_wrong, group

C = {
    "num_generations": 2,
    "reward_funcs": ("accuracy", "short"),
    "reward_weights": (1.0, 0.5),
    "scale_rewards": "none",
    "multi_objective_aggregation": "sum_then_normalize",
}
NAN = float("nan")


@pytest.fixture(scope="module")
def mesh():
    return meshes.make(data=1, fsdp=-1)


def test_rewards_are_weighted_and_compared_within_their_group(mesh):
    found = group(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]), C, mesh)
    np.testing.assert_allclose(found.advantage, [0.25, -0.25, 0, 0])  # of 1, .5 and 1.5, 1.5
    assert found.informative.tolist() == [True, False]
    assert found.metrics["reward"] == pytest.approx(1.125)
    assert found.metrics["rewards/accuracy/mean"] == 0.75
    assert found.metrics["rewards/accuracy/std"] == pytest.approx(0.5)
    assert found.metrics["frac_groups/all_right"] == 0.5
    assert found.metrics["frac_groups/all_wrong"] == 0


def test_a_sample_without_any_reward_has_no_advantage(mesh):
    found = group(np.array([[NAN, NAN], [1.0, 0.0], [0.0, NAN], [1.0, NAN]]), C, mesh)
    assert np.isnan(found.advantage).tolist() == [True, False, False, False]
    assert found.informative.tolist() == [False, True]
    assert found.metrics["rewards/short/mean"] == 0
    assert np.isnan(found.metrics["rewards/short/std"])


def test_verdicts_of_groups_with_missing_rewards():
    right, wrong = all_right_all_wrong(np.array([[1.0, 2.0], [0.0, NAN], [1.0, NAN]]))
    assert right.tolist() == [True, False, False]
    assert wrong.tolist() == [False, True, False]
