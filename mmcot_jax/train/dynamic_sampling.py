"""Dynamic sampling: batches of prompts are sampled until all groups of a step are informative.

Axes: N prompts of a batch, G samples per prompt, B = N G rows of this process, M batches.
Source: arXiv 2503.14476 section 3.2 (DAPO); `filter_groups` in verl.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int

from mmcot_jax import mesh as meshes
from mmcot_jax.example import Question, Reply
from mmcot_jax.rewards.results import RewardResult, concatenate
from mmcot_jax.rollout.generate import Generations
from mmcot_jax.types import Batch, Rollout, row_axes


class Sampled(NamedTuple):
    """The groups that a step samples, of one or several batches of prompts; of this process."""

    questions: list[Question]
    generations: Generations
    """Its `rollout` has the N groups of the step; the other fields are those of all batches."""
    replies: list[Reply]
    """Those of `generations`, with decoded pictures if they are needed."""
    rewards: Callable[[], RewardResult]
    """Waits for the rewards of `replies`."""
    kept: np.ndarray
    """int [N]: the numbers of the groups of `rollout`; group n of batch m is m N + n."""
    batches: int = 1
    """M, batches of prompts."""

    def rows(self, values: np.ndarray, other: float | bool, mesh: Mesh) -> np.ndarray:
        """Scatters `values` of the kept groups, [N G ...], to all replies of this process.

        Returns [replies ...], with `other` for the replies of dropped groups.
        """
        n, (g, *rest) = len(self.kept), values.shape[1:]
        every = np.full((self.batches * n, g, *rest), other, values.dtype)
        every[self.kept] = values
        every = every.reshape(self.batches, n * g, *rest)
        return every[:, meshes.rows(mesh, n * g)].reshape(-1, *rest)


def fill(
    first: Sampled,
    sample: Callable[[int], Sampled],
    informative: Callable[[RewardResult], np.ndarray],
    most: int,
    mesh: Mesh,
) -> Sampled:
    """Samples further batches until N groups are informative; `most` is the limit, with the first.

    `sample(m)` samples batch m; `informative` returns bool [N] over all processes from the rewards
    of a batch. Informative groups are kept in the order in which they were sampled; if they are
    fewer than N, the first of the others fill up. So the choice does not depend on the mesh.
    """
    results = [first.rewards()]
    found, rollout, kept = informative(results[0]), first.generations.rollout, first.kept
    parts = [_on_host(first)]
    del first
    while not found.all() and len(parts) < most:
        more = sample(len(parts))
        results.append(more.rewards())
        both = np.concatenate([found, informative(results[-1])])
        order = np.argsort(~both, kind="stable")[: len(kept)]
        found = both[order]
        kept = np.concatenate([kept, len(parts) * len(kept) + more.kept])[order]
        rollout = _take_groups(rollout, more.generations.rollout, order, mesh)
        parts.append(_on_host(more))
    return Sampled(
        [question for part in parts for question in part.questions],
        _join([part.generations for part in parts], rollout),
        [reply for part in parts for reply in part.replies],
        lambda: concatenate(results),
        kept,
        len(parts),
    )


def _on_host(sampled: Sampled) -> Sampled:
    """Drops the rollout, so that only one of them stays in memory."""
    return sampled._replace(generations=sampled.generations._replace(rollout=None))


def _join(parts: list[Generations], rollout: Rollout) -> Generations:
    return Generations(
        rollout,
        [reply for part in parts for reply in part.replies],
        [ids for part in parts for ids in part.ids],
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.ended for part in parts]),
        np.concatenate([part.decoded for part in parts]),
    )


def _take_groups(a: Rollout, b: Rollout, order: np.ndarray, mesh: Mesh) -> Rollout:
    index = meshes.replicate(order.astype(np.int32), mesh)
    with meshes.no_implicit_transfers(mesh):
        taken = take_groups(a._replace(decoded=None), b._replace(decoded=None), index)
    return meshes.move_rows(taken, mesh, row_axes(taken))


@jax.jit
def take_groups(a: Rollout, b: Rollout, order: Int[Array, "N"]) -> Rollout:
    """Takes groups of two rollouts by their numbers; those of `b` follow those of `a`."""
    width = max(x.prompt.tokens.shape[1] for x in (a, b))
    a, b = (x._replace(prompt=_widen(x.prompt, width)) for x in (a, b))
    a, b = _with_embeds(a, b), _with_embeds(b, a)

    def take(x: Array, y: Array, axis: int) -> Array:
        return jnp.take(jnp.concatenate([x, y], axis), order, axis=axis)

    return jax.tree.map(take, a, b, row_axes(a))


def _with_embeds(rollout: Rollout, other: Rollout) -> Rollout:
    """Adds zeros for embeddings, of which prompts without images read none, if `other` has some."""
    prompt = rollout.prompt
    if prompt.embeds is not None or other.prompt.embeds is None:
        return rollout
    return rollout._replace(prompt=prompt._replace(embeds=jnp.zeros_like(other.prompt.embeds)))


def _widen(prompt: Batch, width: int) -> Batch:
    """Pads prompts on the left."""
    more = width - prompt.tokens.shape[1]

    def pad(x: Array | None, axis: int) -> Array | None:
        if x is None:
            return None
        return jnp.pad(x, [(more if i == axis else 0, 0) for i in range(x.ndim)])

    return prompt._replace(
        tokens=pad(prompt.tokens, 1),
        positions=pad(prompt.positions, 2),
        valid=pad(prompt.valid, 1),
        loss=pad(prompt.loss, 1),
        embeds=pad(prompt.embeds, 1),
    )
