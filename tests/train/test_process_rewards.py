"""Parts of two groups of two, by hand."""

import numpy as np
import pytest

from mmcot_jax import mesh as meshes
from mmcot_jax.example import Picture, Reply
from mmcot_jax.rewards.results import RewardResult
from mmcot_jax.train import process_rewards
from mmcot_jax.train.groups import group

C = {
    "num_generations": 2,
    "reward_funcs": ("accuracy", "steps"),
    "reward_weights": (1.0, 2.0),
    "image_reward_funcs": (),
    "process_reward_funcs": ("steps",),
    "scale_rewards": "none",
    "multi_objective_aggregation": "sum_then_normalize",
}
NAN = float("nan")


def read(ids):
    """A letter a token; 9 begins a picture of two codes, and 8 ends it."""
    segments, ids = [], list(ids)
    while ids:
        if ids[0] == 9:
            segments.append(Picture(np.array(ids[1:3])))
            del ids[:4]
        else:
            segments.append("abcdefgh"[ids.pop(0)])
    return Reply(tuple(segments))


def test_parts_begin_and_end_at_tokens_and_pictures_are_whole():
    ids = np.array([0, 1, 9, 5, 6, 8, 2, 3])  # ab<image>cd
    parts = [(0, 2, 1.0), (2, 9, 2.0), (9, 11, 3.0), (1, 10, 4.0), (0, 0, 5.0), (3, 9, 6.0)]
    result = RewardResult(
        np.array([[1.0, 6.0], [0.0, 7.0], [1.0, NAN]]), parts={"steps": [parts, None, None]}
    )
    found = process_rewards.in_tokens(result, C, [ids] * 3, read).parts["steps"]
    spans = [(0, 2), (2, 6), (6, 8), (1, 7), (0, 0), (2, 6)]
    assert [tuple(part[:2]) for part in found[0]] == spans
    assert [part[2] for part in found[0]] == [1, 2, 3, 4, 5, 6]
    assert found[1:] == [[(0, 8, 7.0)], []]  # a number is one part; without a reward there is none


def parts(*rows):
    result = RewardResult(np.zeros((len(rows), 2)), parts={"steps": rows})
    found = process_rewards.stack(result, C)
    assert found.shape == (len(rows), 1, 2, 3)
    return found


def test_a_part_is_compared_with_the_same_part_of_its_group():
    given = parts([(0, 2, 1.0), (2, 4, 0.0)], [(0, 3, 0.0), (3, 4, 0.0)], [(0, 4, 5.0)], [])
    given = given.reshape(2, 2, 1, 2, 3)
    for scale, expected in (
        ("none", [[[1, 0], [-1, 0]], [[0, 0], [0, 0]]]),
        ("group", [[[np.sqrt(6), 0], [-np.sqrt(6), 0]], [[0, 0], [0, 0]]]),
        ("batch", [[[np.sqrt(8), 0], [-np.sqrt(8), 0]], [[0, 0], [0, 0]]]),
    ):
        found = process_rewards.advantages(given, np.array([2.0]), scale)
        np.testing.assert_allclose(found[:, :, 0, :, 2], expected, rtol=1e-3)
        np.testing.assert_array_equal(found[..., :2], given[..., :2])
    none = process_rewards.advantages(given, np.array([2.0]), "none")
    tokens = process_rewards.spread(none, 5)
    np.testing.assert_array_equal(tokens[0], [[1, 1, 0, 0, 0], [-1, -1, -1, 0, 0]])
    assert not tokens[1].any()


def test_parts_that_overlap_add_up():
    each = np.array([[0, 3, 1.0], [2, 5, 0.5], [NAN, NAN, 0.0]]).reshape(1, 1, 1, 3, 3)
    np.testing.assert_array_equal(process_rewards.spread(each, 4), [[[1, 1, 1.5, 0.5]]])


def test_groups_whose_parts_differ_are_informative_though_their_sums_do_not():
    mesh = meshes.make(data=1, fsdp=-1)
    values = np.array([[1.0, 1.0], [1.0, 1.0], [NAN, 2.0], [NAN, 2.0]])
    first, second = [(0, 1, 1.0), (1, 2, 0.0)], [(0, 1, 0.0), (1, 2, 1.0)]
    found = group(values, C, mesh, parts(first, second, [(0, 2, 2.0)], [(0, 2, 2.0)]))
    assert found.informative.tolist() == [True, False]
    np.testing.assert_array_equal(found.advantage, [0, 0, 0, 0])  # of accuracy, and of none
    np.testing.assert_array_equal(found.parts[0, :, 0, :, 2], [[1, -1], [-1, 1]])
    assert found.metrics["reward"] == pytest.approx((3 + 3 + 4 + 4) / 4)
    assert found.metrics["frac_reward_zero_std"] == 0.5
    only = C | {"reward_funcs": ("steps",), "reward_weights": (2.0,)}
    values = np.array([[1.0], [1.0], [NAN], [NAN]])
    found = group(values, only, mesh, parts(first, second, [], []))
    np.testing.assert_array_equal(found.advantage, [0, 0, NAN, NAN])  # the others are left out
