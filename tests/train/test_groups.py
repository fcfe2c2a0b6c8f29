"""Rewards of two groups of two, by hand."""

import numpy as np
import pytest

from mmcot_jax import mesh as meshes
from mmcot_jax.train.groups import all_right_all_wrong, group, informative_first

C = {
    "num_generations": 2,
    "reward_funcs": ("accuracy", "short"),
    "reward_weights": (1.0, 0.5),
    "image_reward_funcs": (),
    "process_reward_funcs": (),
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


def test_a_group_is_informative_if_only_its_pictures_differ(mesh):
    rewards = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, NAN], [0.0, NAN], [1.0, NAN], [0.0, NAN]])
    found = group(rewards, C | {"image_reward_funcs": ("short",)}, mesh)
    np.testing.assert_allclose(found.advantage, [0, 0, 0, 0, 0.5, -0.5])
    np.testing.assert_allclose(found.image_advantage, [-0.25, 0.25, NAN, NAN, NAN, NAN])
    assert found.informative.tolist() == [True, False, True]
    assert found.metrics["frac_reward_zero_std"] == pytest.approx(1 / 3)
    assert group(rewards, C, mesh).image_advantage is None


def test_verdicts_of_groups_with_missing_rewards():
    right, wrong = all_right_all_wrong(np.array([[1.0, 2.0], [0.0, NAN], [1.0, NAN]]))
    assert right.tolist() == [True, False, False]
    assert wrong.tolist() == [False, True, False]


def test_informative_rows_fill_one_micro_batch_after_another():
    advantage = np.array([[0, 0], [0, 1], [0, NAN], [0, 0], [-1, 0], [0, 0], [2, 0], [0, 0]])
    # row b is in micro-batch b mod 2: rows 0 2 4 6 become 1 4 6 0
    assert informative_first(advantage, 2).tolist() == [1, 2, 4, 3, 6, 5, 0, 7]
    order = informative_first(advantage, 4)
    assert [{*order[p::4].tolist()} & {1, 4, 6} for p in range(4)] == [{1, 4}, {6}, set(), set()]


def test_an_order_that_skips_nothing_more_is_not_taken():
    teaches, nothing = np.array([[1.0, -1.0]]), np.zeros((1, 2))
    for rows, parts in (
        ([teaches] * 4, 2),
        ([nothing] * 4, 2),
        ([teaches, nothing] * 2, 2),
        ([teaches, nothing] * 2, 1),
        ([nothing, nothing, nothing, teaches], 4),
        ([nothing, teaches, teaches, teaches], 2),
    ):
        assert informative_first(np.concatenate(rows), parts) is None
