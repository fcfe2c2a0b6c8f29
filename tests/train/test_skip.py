"""Micro-batches without an informative group are left out, and nothing else changes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmcot_jax import mesh as meshes
from mmcot_jax import rules
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import SampleStatic, row_keys, sample
from mmcot_jax.train.groups import informative_first
from mmcot_jax.train.objective import Objective
from mmcot_jax.train.optim import split
from mmcot_jax.train.step import GrpoStatic, grpo_step, regroup, rollout_logps, start, take_rows
from mmcot_jax.types import Batch, Experience, row_axes

N, G, PROMPT, T = 4, 4, 6, 16
SAMPLING = Sampling(temperature=0.7)
SGD = optax.sgd(0.1)
# the second and the fourth group have nothing to learn from; a sample of the third has no reward
ADVANTAGE = np.array(
    [[1.5, -0.5, 0.5, -1.5], [0, 0, 0, 0], [0.7, np.nan, -0.7, 0], [0, np.nan, 0, 0]], np.float32
)
MEASURED = ("entropy", "sampling/", "frac_micro_batches/")
"""Metrics of the rows that are computed."""


@pytest.fixture(scope="module")
def rollout(chameleon):
    tokens = np.random.default_rng(0).integers(18, 28, (N, PROMPT)).astype(np.int32)
    valid = np.ones_like(tokens, bool)
    positions = np.broadcast_to(np.arange(PROMPT, dtype=np.int32), (1, N, PROMPT))
    prompt = jax.tree.map(jnp.asarray, Batch(tokens, positions, valid, ~valid))
    backbone, variables = chameleon
    keys = row_keys(jax.random.key(5), jnp.arange(N * G))
    static = SampleStatic(SAMPLING, T, num_generations=G)
    return sample(backbone, variables, backbone.grammar, prompt, keys, static)


def experience(rollout, per_row, parts, advantage=ADVANTAGE, image=None, **logps):
    """The rows of `per_row` samples in the order in which they are trained."""
    given = [x.reshape(-1, per_row) for x in (advantage, image) if x is not None]
    advantage, *image = map(jnp.asarray, given)
    rows = Experience(regroup(rollout, per_row), advantage, None, None, *image)
    rows = rows._replace(**{name: x.reshape(-1, per_row, T) for name, x in logps.items()})
    order = informative_first(np.concatenate(given, axis=1), parts)
    return rows if order is None else take_rows(rows, order)


@pytest.fixture(scope="module")
def step(chameleon):
    """One update with plain gradient descent: (adapters, metrics)."""

    def run(rows, objective, parts, backbone=chameleon.backbone):
        trained, frozen = split(chameleon.variables, "lora")
        state = start(jax.tree.map(jnp.copy, trained), SGD)  # the step donates it
        static = GrpoStatic(backbone, SGD, "lora", objective, SAMPLING, parts, chunk=T)
        state, metrics = grpo_step(state, frozen, rows, backbone.grammar, static)
        return jax.tree.map(np.asarray, (state.trained, metrics))

    return run


def without(metrics):
    return {k: v for k, v in metrics.items() if not k.startswith(MEASURED)}


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5, rtol=1e-4), a, b)


@pytest.mark.parametrize(
    ("objective", "parts", "per_row"),
    [
        (Objective(), 2, 2),
        pytest.param(Objective(loss_type="grpo"), 4, 1, marks=pytest.mark.slow),
        pytest.param(Objective(loss_type="dr_grpo"), 4, 2, marks=pytest.mark.slow),
        pytest.param(Objective(importance_sampling_level="sequence"), 4, 1, marks=pytest.mark.slow),
        pytest.param(Objective("cispo", epsilon_high=5.0), 2, 1, marks=pytest.mark.slow),
    ],
)
def test_gradient_loss_and_metrics_are_those_of_all_rows(rollout, step, objective, parts, per_row):
    # off policy, so that ratios are clipped
    noise = 0.3 * np.random.default_rng(1).normal(size=(N, G, T)).astype(np.float32)
    old = {"old_logps": rollout.logps + noise * rollout.sampled}
    expected = step(experience(rollout, per_row, 1, **old), objective, 1)
    adapters, metrics = step(experience(rollout, per_row, parts, **old), objective, parts)
    assert metrics["grad_norm"] > 1e-3
    assert metrics["frac_micro_batches/skipped"] == 0.5
    assert expected[1]["frac_micro_batches/skipped"] == 0
    close((adapters, without(metrics)), (expected[0], without(expected[1])))


def with_pictures(rollout):
    """Every completion is a a BOI c c c c EOI a a .. with other letters and codes."""
    random = np.random.default_rng(3)
    tokens, state = random.integers(18, 28, (N, G, T)), np.zeros((N, G, T), np.int32)
    tokens[..., 2], tokens[..., 3:7], tokens[..., 7] = 17, random.integers(4, 16, (N, G, 4)), 16
    state[..., 3:8] = 5, 4, 3, 2, 1
    every = np.ones((N, G, T), bool)
    made = tokens.astype(np.int32), state, rollout.room, every & (state != 1), every
    return rollout._replace(**dict(zip(rollout._fields[1:6], map(jnp.asarray, made), strict=True)))


# the pictures of the second group differ, and those of the third
IMAGE_ADVANTAGE = np.array(
    [[0, 0, 0, 0], [1.0, -0.5, np.nan, -0.5], [-2, 0, 0.5, np.nan], [0, 0, np.nan, 0]], np.float32
)


@pytest.mark.parametrize(
    ("objective", "parts", "per_row"),
    [
        (Objective(), 2, 2),
        pytest.param(Objective(loss_type="grpo"), 4, 1, marks=pytest.mark.slow),
        pytest.param(Objective("cispo", epsilon_high=5.0), 2, 4, marks=pytest.mark.slow),
    ],
)
def test_pictures_with_an_advantage_of_their_own_are_not_left_out(
    rollout, step, objective, parts, per_row
):
    """Rows that share a prompt, in parts, teach as sixteen rows at once."""
    rollout = with_pictures(rollout)
    expected = step(experience(rollout, 1, 1, image=IMAGE_ADVANTAGE), objective, 1)
    found = step(experience(rollout, per_row, parts, image=IMAGE_ADVANTAGE), objective, parts)
    assert found[1]["frac_micro_batches/skipped"] == (0.25 if parts == 4 else 0)
    close((found[0], without(found[1])), (expected[0], without(expected[1])))
    text = step(experience(rollout, 1, 1), objective, 1)[0]
    # a sample with a reward of its picture only would be counted
    equal = np.where(np.isnan(ADVANTAGE), np.nan, 0).astype(np.float32)
    close(step(experience(rollout, 1, 1, image=equal), objective, 1)[0], text)
    gap = jax.tree.map(lambda x, y: np.abs(x - y).max(), expected[0], text)
    assert max(jax.tree.leaves(gap)) > 1e-3


def counting(backbone, count):
    """The backbone, which counts its forward passes while they run."""

    class Counting(type(backbone)):
        __hash__ = object.__hash__

        def __call__(self, *args, **kwargs):
            jax.debug.callback(lambda: count.append(1))
            return super().__call__(*args, **kwargs)

    return Counting(**{f.name: getattr(backbone, f.name) for f in dataclasses.fields(backbone)})


def test_only_the_micro_batches_with_something_to_learn_run(chameleon, rollout, step):
    count = []
    backbone = counting(chameleon.backbone, count)
    one = ADVANTAGE * np.array([[0], [0], [1], [0]], np.float32)
    for advantage, runs in ((np.ones_like(one), 4), (ADVANTAGE, 2), (one, 1), (0 * one, 1)):
        count.clear()
        rows = experience(rollout, 1, 4, advantage)
        _, metrics = step(rows, Objective(loss_type="grpo"), 4, backbone)
        jax.effects_barrier()
        assert len(count) == runs
        assert metrics["frac_micro_batches/skipped"] == 1 - runs / 4
        # what runs agrees with the sampler
        assert metrics["entropy"] > 0
        for name in ("min", "mean", "max"):
            ratio = metrics[f"sampling/importance_sampling_ratio/{name}"]
            assert ratio == pytest.approx(1, abs=1e-5)
    assert metrics["grad_norm"] == metrics["loss"] == 0


@pytest.mark.slow
def test_a_divergence_is_measured_on_all_rows(chameleon, rollout, step):
    static = GrpoStatic(chameleon.backbone, SGD, "lora", Objective(), SAMPLING, 1, chunk=T)
    base = {"params": chameleon.variables["params"]}
    ref = {"ref_logps": rollout_logps(base, rollout, chameleon.backbone.grammar, static)}
    expected = step(experience(rollout, 1, 1, **ref), Objective(), 1)
    found = step(experience(rollout, 1, 4, **ref), Objective(), 4)
    assert found[1]["kl"] > 0 and found[1]["frac_micro_batches/skipped"] == 0
    close((found[0], without(found[1])), (expected[0], without(expected[1])))


@pytest.mark.slow
def test_a_mesh_changes_nothing(chameleon, rollout, step):
    """Rows move between devices, and all devices skip the same micro-batches."""
    expected = step(experience(rollout, 1, 4), Objective(), 4)
    mesh = meshes.make(2, 2, 1, devices=jax.devices()[:4])
    variables = jax.device_put(chameleon.variables, meshes.shardings(chameleon.variables, mesh))
    trained, frozen = split(variables, "lora")
    state = meshes.replicate(start(jax.tree.map(jnp.copy, trained), SGD), mesh)
    rows = Experience(regroup(rollout, 1), ADVANTAGE.reshape(-1, 1))
    rows = jax.tree.map(np.asarray, rows)
    axes = row_axes(rows)
    order = meshes.replicate(informative_first(rows.advantage, 4), mesh)
    rows = meshes.put(rows, mesh, axes)
    grammar = meshes.replicate(chameleon.backbone.grammar, mesh)
    static = GrpoStatic(chameleon.backbone, SGD, "lora", Objective(), SAMPLING, 4, chunk=T)
    with meshes.no_implicit_transfers(mesh):
        rows = meshes.move_rows(take_rows(rows, order), mesh, axes)
        state, metrics = grpo_step(state, frozen, rows, grammar, static)
    assert rows.rollout.tokens.sharding.spec[0] == rules.ROWS
    close(jax.tree.map(np.asarray, (state.trained, metrics)), expected)
