"""The GRPO step on the tiny Chameleon: 4..15 codes, 16 EOI, 17 BOI, 2 EOS, 18..27 words."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmcot_jax import mesh as meshes
from mmcot_jax.sample.law import Sampling
from mmcot_jax.sample.sampler import row_keys, sample
from mmcot_jax.train import step as steps
from mmcot_jax.train.objective import Objective, make
from mmcot_jax.train.step import grpo_step, rollout_logps, split, start
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
        sampling=SAMPLING, length=T,
    )  # fmt: skip


ADVANTAGE = np.array([1.5, -0.5, 0.5, -1.5, 0.7, -0.7, 1.0, -1.0], np.float32)


@pytest.fixture(scope="module")
def logps(chameleon):
    """Log-probabilities of a rollout under some of the weights, by the trainer."""
    backbone, variables = chameleon

    def run(rollout, variables=variables, grammar=backbone.grammar, sampling=SAMPLING, parts=1,
            backbone=backbone):  # fmt: skip
        return rollout_logps(
            variables, rollout, grammar, backbone=backbone, sampling=sampling,
            micro_batches=parts, chunk=5,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def experience(chameleon, rollout, logps):
    """Rollouts whose policy has moved on since, and a reference without adapters."""
    noise = np.random.default_rng(1).normal(size=(B, T)).astype(np.float32)
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
        state, metrics = grpo_step(
            state, frozen, experience, chameleon.backbone.grammar,
            backbone=backbone or chameleon.backbone, optimizer=SGD, what=what,
            objective=objective, sampling=sampling, micro_batches=parts, chunk=5,
        )  # fmt: skip
        assert int(state.step) == 1
        return jax.tree.map(np.asarray, (state.trained, metrics))

    return run


@pytest.fixture(scope="module")
def expected(experience, step):
    """One update of all rows at once, on one device."""
    return step(experience)


def close(a, b, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=1e-4), a, b)


def moved(chameleon, trained, atol=1e-6):
    base = chameleon.variables["lora"]
    return any(
        np.abs(a - b).max() > atol
        for a, b in zip(jax.tree.leaves(trained), jax.tree.leaves(base), strict=True)
    )


def written(rollout):
    pairs = zip(np.asarray(rollout.tokens), np.asarray(rollout.valid), strict=True)
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


def test_a_grammar_dropped_by_the_trainer_is_off_by_tenths_of_nats(chameleon, logps):
    backbone = chameleon.backbone
    plain = Sampling(SAMPLING.temperature)  # truncation would hide what the grammar forbids
    prompt = Batch(*(jnp.ones((1, B, 1) if n == 1 else (B, 1), t) for n, t in enumerate(
        (jnp.int32, jnp.int32, bool, bool))))  # fmt: skip
    keys = row_keys(jax.random.key(0), jnp.arange(B))
    drawn = sample(
        backbone, chameleon.variables, backbone.grammar, prompt, keys, sampling=plain, length=T
    )
    nothing = backbone.grammar._replace(is_text=jnp.ones(36, bool), is_image=jnp.ones(36, bool))
    assert np.abs(logps(drawn, sampling=plain) - drawn.logps).max() < 1e-5
    assert np.abs(logps(drawn, grammar=nothing, sampling=plain) - drawn.logps).max() > 0.1
