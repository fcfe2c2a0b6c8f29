"""Formulas by hand, against TRL's numbers, and against the mistakes others made."""

import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax.train.advantages import advantages, group_advantages, token_advantage
from mmcot_jax.train.objective import (
    LOSS_TYPES,
    Objective,
    check,
    finalize,
    from_config,
    loss,
    loss_sums,
    merge,
    token_weights,
)

NAN = float("nan")
GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "grpo.npz"


def rows(*values):
    return jnp.asarray(values, jnp.float32)


# ---------------------------------------------------------------------------- loss by hand

ONES = jnp.ones((2, 4))
LOGPS = rows([-1, -1, -1, -1], [-2, -2, -2, -2])


def both(o, logps=LOGPS, old=None, ref=None, advantage=(1.0, -1.0), weight=ONES):
    """Loss, metrics, gradient."""

    def f(logps):
        return loss(o, logps, old, ref, jnp.asarray(advantage, jnp.float32), weight)

    (value, metrics), gradient = jax.value_and_grad(f, has_aux=True)(logps)
    return float(value), {k: float(v) for k, v in metrics.items()}, np.asarray(gradient)


@pytest.mark.parametrize(
    ("loss_type", "divisors"),
    [
        ("grpo", (2 * 1, 2 * 4)),  # rows x the row's tokens
        ("bnpo", (5, 5)),
        ("dapo", (5, 5)),  # all tokens
        ("dr_grpo", (2 * 10, 2 * 10)),  # rows x budget
    ],
)
def test_what_a_tokens_gradient_is_divided_by(loss_type, divisors):
    weight = rows([1, 0, 0, 0], [1, 1, 1, 1])
    o = Objective(loss_type, max_completion_length=10)
    _, _, gradient = both(o, advantage=(1, 1), weight=weight)
    np.testing.assert_allclose(gradient, -weight / jnp.asarray(divisors)[:, None], rtol=1e-6)


def test_lengths_weigh_as_the_loss_type_says():
    """A short row and a long one: 35 and 467 tokens, one of them right."""
    weight = (jnp.arange(467) < jnp.array([[35], [467]])).astype(jnp.float32)
    zeros = jnp.zeros((2, 467))
    for advantage, by_row, by_token in [((1, 0), -0.5, -35 / 502), ((0, 1), -0.5, -467 / 502)]:
        value = both(Objective("grpo"), zeros, advantage=advantage, weight=weight)[0]
        assert value == pytest.approx(by_row, abs=1e-6)
        value = both(Objective("dapo"), zeros, advantage=advantage, weight=weight)[0]
        assert value == pytest.approx(by_token, abs=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "slope"),
    [(1.5, 1, 0), (1.5, -1, 1.5), (0.5, 1, -0.5), (0.5, -1, 0), (1.25, 1, -1.25), (3.0, -1, 0)],
)
def test_the_ratio_is_clipped_where_it_went_far_enough(ratio, advantage, slope):
    """epsilon 0.2, epsilon_high 0.3, delta 2: a gradient only from where clipping lets through."""
    o = Objective("dapo", epsilon_high=0.3, delta=2.0)
    one = rows([math.log(ratio)])
    _, metrics, gradient = both(o, one, rows([0]), advantage=(advantage,), weight=jnp.ones((1, 1)))
    np.testing.assert_allclose(gradient, [[slope]], atol=1e-6)
    assert metrics["clip_ratio/low_mean"] == (ratio < 0.8 and advantage < 0)
    assert metrics["clip_ratio/high_mean"] == (ratio > 1.3 and advantage > 0)
    assert metrics["clip_ratio/region_mean"] == (slope == 0 and ratio < 2)


def test_clip_ratios_are_of_tokens_and_their_extremes_of_rows():
    old = LOGPS - jnp.log(rows([1, 1, 2, 2], [1, 1, 1, 0.5]))
    _, metrics, _ = both(Objective("dapo"), old=old)
    assert metrics == {
        "clip_ratio/low_mean": 1 / 8,
        "clip_ratio/low_min": 0,
        "clip_ratio/high_mean": 2 / 8,
        "clip_ratio/high_max": 2 / 4,
        "clip_ratio/region_mean": 3 / 8,
    }


def test_a_sequence_has_one_ratio_the_geometric_mean_of_its_tokens():
    o = Objective("grpo", importance_sampling_level="sequence")
    old = LOGPS - rows([0.4, 0, 0, 0], [0.0, 0, 0, 0])
    value, metrics, gradient = both(o, old=old)
    assert value == pytest.approx(-(math.exp(0.1) - 1) / 2, rel=1e-5)
    np.testing.assert_allclose(gradient[0], np.full(4, -math.exp(0.1) / 8), rtol=1e-5)
    assert metrics["clip_ratio/region_mean"] == 0


def test_the_divergence_is_k3_and_not_k1_whose_mean_gradient_is_0():
    o = Objective("dapo", beta=1.0, use_bias_correction_kl=False)
    kl = []
    for gap in (-0.5, 0.0, 0.5):
        _, metrics, gradient = both(o, ref=LOGPS + gap, advantage=(0, 0))
        kl.append(metrics["kl"])
        # k1's gradient is 1 / 8 whatever the reference says
        np.testing.assert_allclose(gradient, np.full((2, 4), (1 - math.exp(gap)) / 8), atol=1e-6)
    np.testing.assert_allclose(kl, [0.106531, 0, 0.148721], atol=1e-6)


def test_the_divergence_off_policy_is_multiplied_by_the_ratio():
    old, ref = LOGPS - math.log(1.1), LOGPS + 0.5
    _, plain, _ = both(Objective(beta=1.0, use_bias_correction_kl=False), old=old, ref=ref)
    _, corrected, _ = both(Objective(beta=1.0), old=old, ref=ref)
    assert corrected["kl"] == pytest.approx(1.1 * plain["kl"], rel=1e-5)


def test_at_beta_0_a_reference_informs_and_does_not_pull():
    without, with_it = both(Objective()), both(Objective(), ref=LOGPS + 0.5)
    assert with_it[1].pop("kl") == pytest.approx(0.148721, abs=1e-6)
    assert without[:2] == with_it[:2]
    np.testing.assert_array_equal(without[2], with_it[2])


def test_the_ratio_in_cispo_is_a_weight_without_gradient():
    o = Objective("cispo", epsilon_high=1.5)
    old = LOGPS - jnp.log(rows([0.5, 1, 2, 4], [0.5, 1, 2, 4]))
    _, metrics, gradient = both(o, old=old)
    np.testing.assert_allclose(gradient[0], -np.array([0.5, 1, 1.5, 1.5]) / 8, rtol=1e-6)
    np.testing.assert_allclose(gradient[1], -gradient[0], rtol=1e-6)
    assert metrics == {"cispo_clip_ratio": 2 / 8}


def test_sapo_is_steepest_at_ratio_1():
    slopes = [
        abs(both(Objective("sapo"), old=LOGPS - math.log(r), advantage=(1, 1))[2][0, 0]) / r
        for r in (0.5, 1.0, 2.0)
    ]
    assert slopes[1] == pytest.approx(1 / 8) and max(slopes[0], slopes[2]) < 0.12


def test_a_second_update_has_a_ratio_that_is_not_1():
    first, second = both(Objective()), both(Objective(), old=LOGPS - 0.1)
    assert first[0] == 0 and abs(first[2]).max() == 1 / 8
    np.testing.assert_allclose(second[2], first[2] * math.exp(0.1), rtol=1e-5)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_advantages_are_not_whitened_a_second_time(loss_type):
    """Twice the advantages are twice the loss, and a constant added is not taken away."""
    o = Objective(loss_type, epsilon_high=9.0, max_completion_length=4)
    weight = rows([1, 1, 0, 0], [1, 1, 1, 1])
    once = both(o, advantage=(1, 2), weight=weight)
    twice = both(o, advantage=(2, 4), weight=weight)
    np.testing.assert_allclose(twice[2], 2 * once[2], rtol=1e-6)
    same = both(o, advantage=(3, 3), weight=weight)
    assert (same[2] * weight).max() <= 0 and same[2][0, 0] < 0


# ---------------------------------------------------------------------------- masks

SAMPLED = jnp.array([[1, 1, 1, 0], [1, 1, 1, 1]], bool)
IMAGE = jnp.array([[0, 1, 0, 0], [0, 0, 1, 1]], bool)
ENDED = jnp.array([True, False])


@pytest.mark.parametrize(
    ("options", "advantage", "expected"),
    [
        ({}, (1, 1), [[1, 1, 1, 0], [1, 1, 1, 1]]),
        ({"image_weight": 0.0}, (1, 1), [[1, 0, 1, 0], [1, 1, 0, 0]]),
        ({"text_weight": 0.5, "image_weight": 2.0}, (1, 1), [[0.5, 2, 0.5, 0], [0.5, 0.5, 2, 2]]),
        ({"mask_truncated_completions": True}, (1, 1), [[1, 1, 1, 0], [0, 0, 0, 0]]),
        ({}, (NAN, 1), [[0, 0, 0, 0], [1, 1, 1, 1]]),
    ],
)
def test_what_counts(options, advantage, expected):
    advantage = jnp.asarray(advantage, jnp.float32)
    weight = token_weights(Objective(**options), SAMPLED, IMAGE, ENDED, advantage)
    np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_what_has_no_weight_is_never_looked_at(loss_type, level):
    """Text only: image tokens have gradient 0, and what they hold changes nothing."""
    o = Objective(
        loss_type, level, epsilon_high=9.0, beta=0.1, max_completion_length=4, image_weight=0.0
    )
    weight = token_weights(o, SAMPLED, IMAGE, ENDED, jnp.ones(2))
    clean = both(o, LOGPS, LOGPS - 0.1, LOGPS - 0.2, weight=weight)
    bad = jnp.where(weight > 0, 0.0, jnp.asarray([[0, -jnp.inf, 0, NAN], [0, 0, 1e38, -1e38]]))
    dirty = both(o, LOGPS + bad, LOGPS - 0.1 + bad, LOGPS - 0.2 - bad, weight=weight)
    assert dirty[:2] == clean[:2]
    np.testing.assert_array_equal(dirty[2], clean[2])
    assert (clean[2][weight == 0] == 0).all() and (clean[2][weight > 0] != 0).all()


@pytest.mark.parametrize("loss_type", ["dapo", "cispo", "bnpo"])
def test_what_the_budget_truncated_counts_in_no_mean_over_tokens(loss_type):
    """TRL's dapo and cispo divided by masked rows' tokens too, until its fix #6439."""
    o = Objective(loss_type, epsilon_high=9.0, mask_truncated_completions=True)
    sampled, no_image = jnp.ones((2, 4), bool), jnp.zeros((2, 4), bool)
    weight = token_weights(o, sampled, no_image, jnp.array([True, False]), jnp.ones(2))
    gradient = both(o, advantage=(1.0, 1.0), weight=weight)[2]
    np.testing.assert_allclose(gradient, [[-0.25] * 4, [0] * 4])


def test_a_weight_of_2_is_as_two_tokens():
    o = Objective("grpo")
    twice = both(o, weight=rows([2, 1, 0, 0], [1, 1, 0, 0]))[2]
    np.testing.assert_allclose(twice[0], -np.array([2, 1, 0, 0]) / 3 / 2, rtol=1e-6)


def test_nothing_to_learn_is_loss_0_and_gradient_0():
    for loss_type in LOSS_TYPES:
        o = Objective(loss_type, epsilon_high=9.0, beta=0.1)
        value, metrics, gradient = both(o, ref=LOGPS, advantage=(NAN, NAN), weight=0 * ONES)
        assert value == 0 and not gradient.any()
        assert all(np.isfinite(v) for v in metrics.values())


# ---------------------------------------------------------------------------- sums


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_parts_add_up_to_the_whole_for_every_loss(loss_type, level):
    random = np.random.default_rng(0)
    logps, old, ref = (jnp.asarray(random.normal(-1, 0.3, (4, 5)), jnp.float32) for _ in range(3))
    advantage = jnp.asarray(random.normal(size=4), jnp.float32)
    weight = (jnp.arange(5) < jnp.array([[1], [5], [0], [3]])).astype(jnp.float32)
    o = Objective(loss_type, level, epsilon_high=0.3, beta=0.1)
    given = (logps, old, ref, advantage, weight)
    whole = loss(o, *given)
    parts = [loss_sums(o, *(x[n::2] for x in given)) for n in range(2)]
    summed = finalize(o, merge(merge(jax.tree.map(jnp.zeros_like, parts[0]), parts[0]), parts[1]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), summed, whole)


# ---------------------------------------------------------------------------- modalities

DRAWN = jnp.array([[False, True, True, False], [False, False, True, True]])


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_the_gradient_of_image_tokens_is_the_sum_of_both_advantages(loss_type):
    o = Objective(loss_type, epsilon_high=9.0, max_completion_length=4)
    text, drawn = rows(1, -0.5), rows(-2, 3)
    tokens = token_advantage(text, drawn, DRAWN)
    both_of_them = both(o, advantage=tokens)[2]
    text, drawn = both(o, advantage=text)[2], both(o, advantage=drawn)[2]
    np.testing.assert_allclose(both_of_them, text + drawn * DRAWN, rtol=1e-6)
    assert np.abs(drawn[DRAWN]).min() > 0


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_equal_rewards_of_pictures_and_chains_of_text_change_nothing(loss_type):
    o = Objective(loss_type, epsilon_high=9.0, max_completion_length=4, beta=0.1)
    old, ref, text = LOGPS + 0.1, LOGPS - 0.1, rows(1, -0.5)
    plain = both(o, LOGPS, old, ref, text)
    for drawn, image in [((0, 0), DRAWN), ((NAN, 0), DRAWN), ((5, -5), DRAWN & False)]:
        tokens = token_advantage(text, rows(*drawn), image)
        value, metrics, gradient = both(o, LOGPS, old, ref, tokens)
        assert (value, metrics) == plain[:2]
        np.testing.assert_array_equal(gradient, plain[2])


def test_a_ratio_of_sequences_has_no_advantages_of_tokens():
    o = Objective("grpo", "sequence")
    with pytest.raises(ValueError, match="image_reward_funcs gives image tokens another advantage"):
        loss_sums(o, LOGPS, None, None, ONES, ONES)


def test_a_token_without_an_advantage_is_left_out():
    ended, sampled = jnp.array([True, False]), ONES > 0
    tokens = token_advantage(rows(NAN, 1), rows(1, NAN), DRAWN)
    weight = token_weights(Objective(image_weight=0.5), sampled, DRAWN, ended, tokens)
    np.testing.assert_array_equal(weight, [[0, 0.5, 0.5, 0], [1, 1, 0.5, 0.5]])
    o = Objective(mask_truncated_completions=True)
    weight = token_weights(o, sampled, DRAWN, ended, tokens)
    np.testing.assert_array_equal(weight, [[0, 1, 1, 0], [0, 0, 0, 0]])


# ---------------------------------------------------------------------------- TRL's numbers

FIELDS = (
    "loss_type", "importance_sampling_level", "epsilon", "epsilon_high", "delta", "beta",
    "use_bias_correction_kl", "sapo_temperature_pos", "sapo_temperature_neg",
    "max_completion_length",
)  # fmt: skip


def agree(case, given, expected_loss, expected_gradient):
    """A case of TRL's `_compute_loss`: loss and gradient within 1e-6, metrics within 1e-5."""
    o = Objective(**{name: case[name] for name in FIELDS})
    weight = jnp.asarray(given[f"in_mask_{case['mask']}"], jnp.float32)
    given = {name: jnp.asarray(given[name]) for name in given if name.startswith("in_")}
    old = given["in_old_logps"] if case["old"] == "given" else None
    ref = given["in_ref_logps"] if case["beta"] else None
    # TRL divides each micro-batch by what the update divides by; we divide once
    by = case["gradient_accumulation_steps"]
    if case["loss_type"] in ("dapo", "cispo"):
        by *= case["num_items_in_batch"] / case["steps_per_generation"] / weight.sum()
    value, metrics, gradient = both(o, given["in_logps"], old, ref, given["in_advantages"], weight)
    assert abs(value / by - expected_loss) < 1e-6, case
    np.testing.assert_allclose(gradient / by, expected_gradient, atol=1e-6, err_msg=str(case))
    assert metrics == pytest.approx(case["metrics"], abs=1e-5)


def test_losses_and_gradients_are_trls():
    given = np.load(GOLDEN)
    cases = json.loads(str(given["cases"]))
    assert {c["loss_type"] for c in cases} == set(LOSS_TYPES)
    for n, case in enumerate(cases):
        agree(case, given, given["out_loss"][n], given["out_grad_logps"][n])


@pytest.mark.reference
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_every_reference_loss(reference, loss_type):
    folder = reference / "golden" / "grpo"
    given = np.load(folder / "io.npz")
    cases = json.loads((folder / "cases.json").read_text())["loss_cases"]
    for case in (c for c in cases if c["loss_type"] == loss_type):
        agree(case, given, given["out_loss"][case["id"]], given["out_grad_logps"][case["id"]])


# ---------------------------------------------------------------------------- names


def test_a_config_s_keys_are_the_fields_of_its_objective():
    c = {"loss_type": "grpo", "beta": 0.04, "max_completion_length": 256, "learning_rate": 1.0}
    expected = Objective("grpo", beta=0.04, max_completion_length=256)
    assert from_config(c) == expected and hash(from_config(c)) == hash(expected)
    assert from_config({"sapo_temperature_neg": 2.0}).sapo_temperature_neg == 2


NEVER_CLIPPED = Objective("grpo", epsilon=1.0, epsilon_high=math.inf)


def test_the_ratio_of_the_study_s_other_trainer_is_never_clipped():
    old = LOGPS - jnp.log(rows([0.1, 1, 3, 9], [0.1, 1, 3, 9]))
    value, metrics, gradient = both(NEVER_CLIPPED, old=old)
    np.testing.assert_allclose(gradient[0], -np.array([0.1, 1, 3, 9]) / 8, rtol=1e-5)
    assert metrics["clip_ratio/region_mean"] == 0 and value == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_type": "drgrpo"}, "loss_type is 'drgrpo'.*'dr_grpo'.; choose from grpo"),
        ({"importance_sampling_level": "word"}, "is 'word'; choose from token, sequence"),
        ({"epsilon": -0.1}, r"epsilon is -0.1 and epsilon_high 0.28; give numbers from 0"),
        ({"loss_type": "cispo", "epsilon_high": None}, "epsilon_high is None; cispo caps"),
        ({"delta": 1.1}, r"delta is 1.1; the ratio is clipped at 1.28 already"),
        ({"beta": -1.0}, r"beta is -1.0; give"),
        ({"sapo_temperature_neg": 0.0}, "sapo_temperature is not > 0"),
        ({"loss_type": "dr_grpo", "max_completion_length": 0}, "is 0; dr_grpo divides by it"),
        ({"text_weight": 0.0, "image_weight": 0.0}, "not both 0"),
        ({"image_weight": -1.0}, r"image_weight -1.0; give numbers"),
    ],
)  # fmt: skip
def test_an_objective_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        check(Objective(epsilon_high=0.28)._replace(**options))


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="aggregation is 'sum'; choose from sum_then_normalize"):
        group_advantages(ONES[..., None], jnp.ones(1), "group", "sum")
    with pytest.raises(ValueError, match="scale_rewards is 'std'; choose from group, batch, none"):
        advantages(ONES, "std")
    with pytest.raises(ValueError, match=r"beta is 0.1 and there are no reference"):
        loss_sums(Objective(beta=0.1), LOGPS, None, None, jnp.ones(2), ONES)
