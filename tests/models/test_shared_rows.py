"""Every backbone: rows that share a prompt teach as separate rows do, in parts and on meshes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmcot_jax import mesh as meshes
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.train.objective import Objective
from mmcot_jax.train.optim import split
from mmcot_jax.train.step import GrpoStatic, grpo_step, regroup, start
from mmcot_jax.types import Batch, Experience, Rollout, row_axes

pytestmark = pytest.mark.slow  # each case compiles a step

N, G, P, T = 4, 4, 7, 6
SGD = optax.sgd(1.0)


@pytest.fixture(scope="module")
def experience(tiny):
    """Four prompts of words, left-padded; four completions of each, of 0 to 6 tokens."""
    random, grammar = np.random.default_rng(0), tiny.backbone.grammar
    words = partial(random.choice, np.flatnonzero(grammar.is_text))
    valid = np.arange(P) >= np.array([0, 3, 1, 5])[:, None]
    positions = np.maximum(np.cumsum(valid, axis=1) - 1, 0)
    # where a position has several axes they differ, as after an image
    positions = np.stack([positions + i * valid for i in range(tiny.backbone.position_axes)])
    prompt = Batch(words((N, P)), positions, valid, np.zeros_like(valid))
    written = np.arange(T) < random.integers(0, T + 1, (N, G, 1))
    tokens = words((N, G, T))
    tokens[0, 0, 3], written[0, 0] = grammar.eos[0], np.arange(T) < 4
    room = np.broadcast_to(T - np.arange(T), tokens.shape)
    logps = np.where(written, random.normal(-2, 0.3, tokens.shape), 0)
    rollout = Rollout(prompt, tokens, np.zeros_like(tokens), room, written, written, logps)
    return jax.tree.map(_of_32_bits, Experience(rollout, random.normal(size=(N, G)), logps - 0.1))


def _of_32_bits(x):
    return np.asarray(x, {"i": np.int32, "f": np.float32, "b": bool}[x.dtype.kind])


def rows_of(experience, generations) -> Experience:
    """Rows of so many completions each."""
    given = jax.tree.map(jnp.asarray, experience)
    rollout = regroup(given.rollout, generations)
    rest = (x.reshape(-1, generations, *x.shape[2:]) for x in (given.advantage, given.old_logps))
    return Experience(rollout, *rest)


def update(tiny, rows, parts=1, mesh=None):
    """One step of plain gradient descent: adapters, which are minus the gradient, and metrics."""
    sampling, objective = Sampling(temperature=0.7, top_p=0.9), Objective()
    static = GrpoStatic(
        tiny.backbone, SGD, "lora", objective, sampling, micro_batches=parts, chunk=5
    )
    variables, grammar = tiny.variables, tiny.backbone.grammar
    if mesh is not None:
        variables = jax.device_put(variables, meshes.shardings(variables, mesh))
        rows = meshes.put(jax.tree.map(np.asarray, rows), mesh, row_axes(rows))
        grammar = meshes.replicate(grammar, mesh)
    trained, frozen = split(variables, "lora")
    state = start(jax.tree.map(jnp.copy, trained), SGD)  # the step donates it
    if mesh is not None:
        state = meshes.replicate(state, mesh)
        with meshes.no_implicit_transfers(mesh):
            state, metrics = grpo_step(state, frozen, rows, grammar, static)
    else:
        state, metrics = grpo_step(state, frozen, rows, grammar, static)
    change = jax.tree.map(
        lambda x, y: np.asarray(x) - np.asarray(y), state.trained, tiny.variables["lora"]
    )
    return change, jax.tree.map(np.asarray, metrics)


@pytest.fixture(scope="module")
def separate(tiny, experience):
    """An update from sixteen rows of one completion each."""
    change, metrics = update(tiny, rows_of(experience, 1))
    assert max(np.abs(x).max() for x in jax.tree.leaves(change)) > 0.01
    return change, metrics


def same(found, expected):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4 * np.abs(y).max() + 1e-6),
        found, expected,
    )  # fmt: skip


@pytest.mark.parametrize(("generations", "parts"), [(2, 2), (4, 4)])
def test_shared_rows_in_parts_teach_as_separate_rows(
    tiny, experience, separate, generations, parts
):
    same(update(tiny, rows_of(experience, generations), parts), separate)


@pytest.mark.parametrize(("generations", "parts"), [(4, 1), (2, 2)])
def test_shared_rows_on_a_mesh_teach_as_separate_rows(
    tiny, experience, separate, generations, parts
):
    found = update(tiny, rows_of(experience, generations), parts, meshes.make(2, 2, 2))
    same(found, separate)
