"""The GRPO step on the tiny Chameleon: 4..15 codes, 16 EOI, 17 BOI, 2 EOS, 18..27 words."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmcot_jax import mesh as meshes
from mmcot_jax import rules
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import SampleStatic, row_keys, sample
from mmcot_jax.train.objective import Objective
from mmcot_jax.train.optim import join, split
from mmcot_jax.train.step import GrpoStatic, ended, grpo_step, rollout_logps, start
from mmcot_jax.types import Batch, Experience, row_axes

EOS, EOI, BOI = 2, 16, 17
B, PROMPT, T = 8, 9, 24
SAMPLING = Sampling(temperature=0.7, top_p=0.9)
SGD = optax.sgd(0.1)
OBJECTIVE = Objective(beta=0.1)


@pytest.fixture(scope="module")
def rollout(chameleon):
    """Eight completions, some with pictures, some that end, after prompts left padded by 0..3."""
    random = np.random.default_rng(0)
    tokens = random.integers(18, 28, (B, PROMPT)).astype(np.int32)
    tokens[::2, 3:] = [BOI, 4, 9, 15, 7, EOI]
    valid = np.arange(PROMPT) >= np.arange(B)[:, None] % 4
    positions = np.maximum(np.cumsum(valid, axis=1) - 1, 0).astype(np.int32)
    prompt = Batch(np.where(valid, tokens, 1), positions[None], valid, np.zeros_like(valid))
    backbone, variables = chameleon
    keys = row_keys(jax.random.key(5), jnp.arange(B))
    return sample(
        backbone, variables, backbone.grammar, jax.tree.map(jnp.asarray, prompt), keys,
        SampleStatic(SAMPLING, T),
    )  # fmt: skip


ADVANTAGE = np.array([1.5, -0.5, 0.5, -1.5, 0.7, -0.7, 1.0, -1.0], np.float32)[:, None]


@pytest.fixture(scope="module")
def logps(chameleon):
    """Log-probabilities of a rollout under some of the weights, by the trainer."""
    backbone, variables = chameleon

    def run(rollout, variables=variables, grammar=backbone.grammar, sampling=SAMPLING, parts=1,
            backbone=backbone):  # fmt: skip
        how = static(backbone, sampling=sampling, parts=parts)
        return rollout_logps(variables, rollout, grammar, how)

    return run


@pytest.fixture(scope="module")
def experience(chameleon, rollout, logps):
    """Rollouts whose policy has moved on since, and a reference without adapters."""
    noise = np.random.default_rng(1).normal(size=(B, 1, T)).astype(np.float32)
    reference = logps(rollout, {"params": chameleon.variables["params"]})
    return Experience(
        rollout, jnp.asarray(ADVANTAGE), rollout.logps + 0.3 * noise * rollout.sampled, reference
    )


@pytest.fixture(scope="module")
def step(chameleon):
    """One update with plain gradient descent: (what was trained, metrics)."""

    def run(experience, objective=OBJECTIVE, what="lora", parts=1, backbone=None,
            sampling=SAMPLING, variables=None):  # fmt: skip
        trained, frozen = split(variables or chameleon.variables, what)
        state = start(jax.tree.map(jnp.copy, trained), SGD)  # the step donates it
        how = static(backbone or chameleon.backbone, objective, what, parts, sampling)
        state, metrics = grpo_step(state, frozen, experience, chameleon.backbone.grammar, how)
        assert int(state.step) == 1
        return jax.tree.map(np.asarray, (state.trained, metrics))

    return run


@pytest.fixture(scope="module")
def expected(experience, step):
    """One update of all rows at once, on one device."""
    return step(experience)


def close(a, b, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=1e-4), a, b)


def static(backbone, objective=OBJECTIVE, what="lora", parts=1, sampling=SAMPLING):
    return GrpoStatic(backbone, SGD, what, objective, sampling, micro_batches=parts, chunk=5)


def written(rollout):
    pairs = zip(np.asarray(rollout.tokens[:, 0]), np.asarray(rollout.valid[:, 0]), strict=True)
    return [tokens[valid].tolist() for tokens, valid in pairs]


def test_at_step_0_the_trainer_says_what_the_sampler_said(rollout, logps):
    rows = written(rollout)
    assert sum(BOI in row for row in rows) >= 3 and sum(EOS in row for row in rows) >= 1
    gap = np.abs(logps(rollout) - rollout.logps)
    assert gap.max() < 1e-5
    assert float(rollout.logps.min()) < -0.5


def test_the_metrics_say_so_too(rollout, step):
    _, metrics = step(Experience(rollout, jnp.asarray(ADVANTAGE)), Objective())
    assert metrics["sampling/sampling_logp_difference/max"] < 1e-5
    assert 0 <= metrics["sampling/sampling_logp_difference/mean"] < 1e-5
    for name in ("min", "mean", "max"):
        ratio = metrics[f"sampling/importance_sampling_ratio/{name}"]
        assert ratio == pytest.approx(1, abs=1e-5)
    for name in ("low_mean", "low_min", "high_mean", "high_max", "region_mean"):
        assert metrics[f"clip_ratio/{name}"] == 0
    assert "kl" not in metrics


def test_a_grammar_dropped_by_the_trainer_is_off_by_tenths_of_nats(chameleon, rollout, logps):
    nothing = chameleon.backbone.grammar._replace(
        is_text=jnp.ones(36, bool), is_image=jnp.ones(36, bool)
    )
    gap = np.abs(logps(rollout, grammar=nothing) - rollout.logps)
    assert 0.1 < gap.max() < 100


@pytest.mark.parametrize("sampling", [Sampling(1.0, 0.9), Sampling(0.7)])
def test_another_temperature_or_truncation_is_off_too(rollout, logps, sampling):
    assert np.abs(logps(rollout, sampling=sampling) - rollout.logps).max() > 0.1


def test_log_probabilities_in_parts_are_those_of_the_whole(rollout, logps):
    np.testing.assert_allclose(logps(rollout, parts=4), logps(rollout), atol=1e-5)


@pytest.mark.parametrize("parts", [2, 4])
def test_gradient_accumulation_changes_nothing(experience, step, expected, parts):
    close(step(experience, parts=parts), expected)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "parts"), [((1, 1, 1), 2), ((2, 2, 2), 2), ((8, 1, 1), 1)])
def test_meshes_change_nothing_and_nothing_crosses_in_between(
    chameleon, experience, expected, shape, parts
):
    devices = jax.devices()[: int(np.prod(shape))]
    auto = (jax.sharding.AxisType.Auto,) * 3
    mesh = jax.make_mesh(shape, rules.AXES, axis_types=auto, devices=devices)
    variables = jax.device_put(chameleon.variables, meshes.shardings(chameleon.variables, mesh))
    trained, frozen = split(variables, "lora")
    state = meshes.replicate(start(jax.tree.map(jnp.copy, trained), SGD), mesh)
    rows = jax.tree.map(np.asarray, experience)
    rows = meshes.put(rows, mesh, row_axes(rows))
    grammar = meshes.replicate(chameleon.backbone.grammar, mesh)
    with meshes.no_implicit_transfers(mesh):
        how = static(chameleon.backbone, parts=parts)
        state, metrics = grpo_step(state, frozen, rows, grammar, how)
        logps = rollout_logps(variables, rows.rollout, grammar, how)
    close(jax.tree.map(np.asarray, (state.trained, metrics)), expected)
    np.testing.assert_allclose(logps, rows.rollout.logps, atol=1e-5)


def test_the_metrics_of_a_policy_that_moved(experience, rollout, expected):
    metrics = expected[1]
    gap = np.asarray(experience.old_logps - rollout.logps)[np.asarray(rollout.sampled)]
    assert metrics["sampling/sampling_logp_difference/mean"] == pytest.approx(np.abs(gap).mean())
    assert metrics["sampling/sampling_logp_difference/max"] == pytest.approx(np.abs(gap).max())
    ratio = metrics["sampling/importance_sampling_ratio/min"], np.exp(gap).min()
    assert ratio[0] == pytest.approx(ratio[1], rel=1e-5)
    assert metrics["kl"] > 0.01 and metrics["grad_norm"] > 0
    assert 0 < metrics["clip_ratio/region_mean"] < 1
    assert metrics["entropy/text"] != metrics["entropy/image"] > 0
    entropies = sorted(metrics[f"entropy{kind}"] for kind in ("/text", "", "/image"))
    assert entropies[1] == metrics["entropy"]


def only(experience, where):
    """The same, but nothing else is learned."""
    rollout = experience.rollout
    return experience._replace(rollout=rollout._replace(sampled=rollout.sampled & where))


def test_the_end_is_learned(experience, step):
    ends = only(experience, experience.rollout.tokens == EOS)
    assert int(ends.rollout.sampled.sum()) >= 1
    assert step(ends)[1]["grad_norm"] > 1e-3


def test_masks_are_carried_and_not_made_of_pad_ids(experience, step, expected):
    """What stands on padding and after the end changes nothing; id 0 or 1 inside would."""
    rollout = experience.rollout
    prompt = rollout.prompt
    junk = rollout._replace(
        tokens=jnp.where(rollout.valid, rollout.tokens, 20),
        prompt=prompt._replace(tokens=jnp.where(prompt.valid, prompt.tokens, 25)),
    )
    close(step(experience._replace(rollout=junk)), expected)


def test_text_only_leaves_pictures_a_gradient_of_exactly_0(chameleon, experience, step):
    image = chameleon.backbone.grammar.is_image[experience.rollout.tokens]
    pictures, text_only = only(experience, image), OBJECTIVE._replace(image_weight=0.0)
    adapters, metrics = step(pictures, text_only)
    assert metrics["grad_norm"] == metrics["loss"] == 0
    close(adapters, chameleon.variables["lora"], atol=0)
    words = step(only(experience, ~image))
    close(step(experience, text_only)[0], words[0])
    assert step(pictures)[1]["grad_norm"] > 1e-3


def test_groups_without_a_difference_move_nothing(chameleon, rollout, step):
    adapters, metrics = step(Experience(rollout, jnp.zeros((B, 1))), Objective())
    assert metrics["grad_norm"] == metrics["loss"] == 0
    close(adapters, chameleon.variables["lora"], atol=0)


def test_rows_without_reward_and_truncated_rows_teach_nothing(chameleon, experience, step):
    done = ended(chameleon.backbone.grammar, experience.rollout)
    assert 0 < int(done.sum()) < B
    left_out = step(only(experience, done[..., None]))[0]
    close(step(experience, OBJECTIVE._replace(mask_truncated_completions=True))[0], left_out)
    advantage = jnp.where(done, experience.advantage, jnp.nan)
    close(step(experience._replace(advantage=advantage))[0], left_out)


def test_dropout_is_never_drawn(chameleon, experience, step, expected):
    lora = chameleon.backbone.c.lora._replace(dropout=0.5)
    close(step(experience, backbone=chameleon.variant(lora=lora)), expected)


def test_a_second_update_on_the_same_rollouts_is_off_policy(chameleon, rollout, logps, step):
    first = Experience(rollout, jnp.asarray(ADVANTAGE), old_logps=logps(rollout))
    o = Objective(epsilon=0.01)
    adapters, at_first = step(first, o)
    moved = join(jax.tree.map(jnp.asarray, adapters), split(chameleon.variables, "lora")[1], "lora")
    second = step(first, o, variables=moved)[1]
    assert at_first["clip_ratio/region_mean"] == 0 < second["clip_ratio/region_mean"]
    # how the sampler and the trainer agreed then does not depend on what was learned since
    assert second["sampling/sampling_logp_difference/max"] < 1e-5
    assert step(first._replace(old_logps=None), o, variables=moved)[1]["loss"] != second["loss"]


def test_beta_without_a_reference_is_refused(rollout, step):
    with pytest.raises(ValueError, match=r"beta is 0.1 and there are no reference"):
        step(Experience(rollout, jnp.asarray(ADVANTAGE)))
