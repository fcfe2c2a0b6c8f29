"""Advantages by hand and against TRL's numbers."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax.train.advantages import (
    advantages,
    group_advantages,
    modality_advantages,
    normalize_then_sum,
    token_advantage,
    weighted,
)

NAN = float("nan")


def rows(*values):
    return jnp.asarray(values, jnp.float32)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        # std of 0 0 0 1: 0.5; of 1 0 1 0: 0.57735
        ("group", [[-0.4999, -0.4999, -0.4999, 1.4997], [0.865875, -0.865875] * 2]),
        # of all eight: 0.517549
        ("batch", [[-0.482953, -0.482953, -0.482953, 1.448858], [0.965905, -0.965905] * 2]),
        ("none", [[-0.25, -0.25, -0.25, 0.75], [0.5, -0.5, 0.5, -0.5]]),
    ],
)  # fmt: skip
def test_an_advantage_is_the_distance_from_the_group_in_stds(scale, expected):
    out = advantages(rows([0, 0, 0, 1], [1, 0, 1, 0]), scale)
    np.testing.assert_allclose(out.advantage, expected, atol=1e-6)
    assert float(out.reward) == 0.375
    assert float(out.reward_std) == pytest.approx(0.517549, abs=1e-6)
    assert float(out.frac_reward_zero_std) == 0


@pytest.mark.parametrize(("given", "name"), [(True, "group"), (False, "none")])
def test_trls_true_and_false_are_names_of_scales(given, name):
    rewards = rows([0, 0, 0, 1], [1, 0, 1, 0])
    np.testing.assert_array_equal(
        advantages(rewards, given).advantage, advantages(rewards, name).advantage
    )


def test_the_std_is_unbiased_and_1e_4_is_added_to_it():
    out = advantages(rows([0, 2]))  # n - 1: sqrt(2), n: 1
    np.testing.assert_allclose(out.advantage, [[-1 / 1.4143136, 1 / 1.4143136]], rtol=1e-6)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_equal_rewards_give_exact_zeros_and_not_amplified_rounding(scale):
    third = 1 / 3  # whose mean over seven is not itself in float32
    out = advantages(rows([third] * 7, [0.1] * 7), scale)
    np.testing.assert_array_equal(out.advantage, np.zeros((2, 7)))
    assert float(out.frac_reward_zero_std) == (0 if scale == "batch" else 1)


def test_half_the_groups_without_a_difference_are_counted():
    assert float(advantages(rows([1, 1], [0, 1])).frac_reward_zero_std) == 0.5


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_a_failed_reward_is_masked_and_not_0(scale):
    out = advantages(rows([0, 1, NAN], [0, 0, 1]), scale).advantage
    alone = advantages(rows([0, 1]), scale).advantage
    assert np.isnan(out[0, 2])
    if scale != "batch":
        np.testing.assert_allclose(out[:1, :2], alone, rtol=1e-6)
    assert float(out[0, 0]) == -float(out[0, 1]) < 0


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_one_reward_in_a_group_compares_with_nothing(scale):
    out = advantages(rows([5, NAN, NAN], [NAN, NAN, NAN], [0, 1, 2]), scale)
    np.testing.assert_array_equal(out.advantage[0], [0, NAN, NAN])
    assert np.isnan(out.advantage[1]).all()
    assert float(out.advantage[2, 0]) < 0
    assert float(out.reward) == 2  # 5 0 1 2
    assert float(out.frac_reward_zero_std) == 0


def test_several_rewards_are_summed_by_weight_and_what_does_not_apply_is_left_out():
    out = weighted(rows([[1, 1, 1], [1, NAN, 1], [NAN, NAN, NAN]]), rows(1, 6, 6))
    np.testing.assert_array_equal(out, [[13, 7, NAN]])


def test_each_reward_scaled_apart_counts_the_same():
    # 0 1 and 0 100 have the same shape: summed as they are, the second would decide alone
    out = normalize_then_sum(rows([[0, 100], [1, 0]], [[0, 0], [1, 100]]), rows(1, 1))
    np.testing.assert_allclose(out.advantage[0], [0, 0], atol=1e-4)
    np.testing.assert_allclose(out.advantage[1], [-1.2247, 1.2247], atol=1e-3)
    none = normalize_then_sum(rows([[0, NAN], [1, NAN], [NAN, NAN]]), rows(1, 1))
    np.testing.assert_allclose(none.advantage, [[-0.7070, 0.7070, NAN]], atol=1e-3)


# two groups of three samples: a reward of the answer, one of the picture, one of its form
REWARDS = rows(
    [[1, 0.2, 1], [0, 0.8, 1], [0, NAN, 0]],
    [[1, NAN, 1], [1, NAN, 1], [1, 0.5, 1]],
)


@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
def test_each_modality_has_the_advantages_of_its_own_rewards(aggregation):
    weights = rows(1, 3, 0.5)
    found = modality_advantages(REWARDS, weights, (False, True, False), "none", aggregation)
    text = group_advantages(REWARDS[..., ::2], weights[::2], "none", aggregation)
    drawn = group_advantages(REWARDS[..., 1:2], weights[1:2], "none", aggregation)
    np.testing.assert_array_equal(found.every.advantage, text.advantage)
    np.testing.assert_array_equal(found.image, drawn.advantage)
    if aggregation == "sum_then_normalize":
        np.testing.assert_allclose(found.every.advantage[0], [5 / 6, -1 / 6, -4 / 6], rtol=1e-6)
        # 0.6 and 2.4 around 1.5; a picture that is alone in its group compares with nothing
        np.testing.assert_allclose(found.image, [[-0.9, 0.9, NAN], [NAN, NAN, 0]], rtol=1e-6)


def test_rewards_that_are_logged_are_those_of_both_modalities():
    weights, image = rows(1, 3, 0.5), (False, True, False)
    found, plain = modality_advantages(REWARDS, weights, image), group_advantages(REWARDS, weights)
    for name in ("reward", "reward_std"):
        assert float(getattr(found.every, name)) == float(getattr(plain, name))
    # the second group's answers are equal, and so is its only picture
    assert float(found.every.frac_reward_zero_std) == 0.5
    two = REWARDS.at[1, 0, 1].set(0.9)
    assert float(modality_advantages(two, weights, image).every.frac_reward_zero_std) == 0


def test_chains_of_text_are_those_of_a_run_without_rewards_of_pictures():
    rewards = REWARDS.at[..., 1].set(NAN)
    found = modality_advantages(rewards, rows(1, 3, 0.5), (False, True, False))
    plain = group_advantages(rewards, rows(1, 3, 0.5))
    np.testing.assert_array_equal(found.every.advantage, plain.advantage)
    assert float(found.every.frac_reward_zero_std) == float(plain.frac_reward_zero_std) == 0.5
    assert np.isnan(found.image).all()


def test_image_tokens_have_the_sum_of_both():
    image = jnp.array([[False, True, True, False]] * 4)
    found = token_advantage(rows(1, 2, 3, NAN), rows(0.5, NAN, -3, 0.25), image)
    np.testing.assert_array_equal(
        found,
        [[1, 1.5, 1.5, 1], [2, 2, 2, 2], [3, 0, 0, 3], [NAN, 0.25, 0.25, NAN]],
    )


@pytest.mark.reference
def test_every_reference_advantage(reference):
    cases = json.loads((reference / "golden" / "grpo" / "cases.json").read_text())
    for case in cases["advantage_cases"]:
        values = np.array(case["rewards_per_func"], float)  # None -> NaN
        shape = (-1, case["num_generations"], values.shape[1])
        given = jnp.asarray(values.reshape(shape), jnp.float32)
        weights = jnp.asarray(case["reward_weights"], jnp.float32)
        scale, aggregation = case["scale_rewards"], case["multi_objective_aggregation"]
        out = group_advantages(given, weights, scale, aggregation)
        wanted = case["expected"]
        # TRL gives 0 where we say NaN, and learns from such rows as from any other
        found = np.nan_to_num(out.advantage).reshape(-1)
        np.testing.assert_allclose(found, wanted["advantages"], atol=1e-6, err_msg=case["name"])
        for name, value in [("reward_mean", out.reward), ("reward_std", out.reward_std)]:
            np.testing.assert_allclose(value, np.float64(wanted[name]), rtol=1e-6)
        assert float(out.frac_reward_zero_std) == pytest.approx(wanted["frac_reward_zero_std"])
