"""Rewards of groups: advantages, informative groups, metrics.

Axes: N prompts, G samples per prompt, B = N G rows, R rewards.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from mmcot_jax import mesh as meshes
from mmcot_jax.rewards import short_names
from mmcot_jax.train import advantages as formulas
from mmcot_jax.train import process_rewards


class Groups(NamedTuple):
    """The rewards and advantages of all processes."""

    rewards: np.ndarray
    """float64 [N G R]; NaN where a reward gave none."""
    advantage: np.ndarray
    """float32 [B]; NaN where a sample has no reward at all."""
    informative: np.ndarray
    """bool [N]: True where a group's samples differ in advantage, of either modality."""
    metrics: dict[str, float]
    image_advantage: np.ndarray | None = None
    """float32 [B], added on image tokens, with `image_reward_funcs`; NaN where no reward of
    pictures applies."""
    parts: np.ndarray | None = None
    """float64 [N G R S 3], with `process_reward_funcs`: first token, end and advantage of parts."""


def group(
    rewards: np.ndarray, c: Mapping[str, Any], mesh: Mesh, parts: np.ndarray | None = None
) -> Groups:
    """Computes advantages and TRL's metrics from rewards, float64 [B R], of this process.

    `mesh` is the one that the rows were sampled on; `parts`, float64 [B R' S 3], are those of the
    process rewards, as `process_rewards.stack` returns them.
    """
    given = [x for x in (rewards, parts) if x is not None]
    return compare(c, *gather_groups(given, c, mesh))


def gather_groups(rows: Sequence[np.ndarray], c: Mapping[str, Any], mesh: Mesh) -> list[np.ndarray]:
    """Gathers arrays [B ...] of each process's rows, and returns them as [N G ...]."""
    gathered = [meshes.gather(x, mesh) for x in rows]
    return [x.reshape(-1, c["num_generations"], *x.shape[1:]) for x in gathered]


def compare(c: Mapping[str, Any], gathered: np.ndarray, parts: np.ndarray | None = None) -> Groups:
    """Computes advantages and TRL's metrics from the rewards of all processes, float64 [N G R].

    `parts` are float64 [N G R' S 3]: first token, end token (exclusive), reward.
    """
    names = short_names(c["reward_funcs"])
    weights = np.array(c["reward_weights"] or [1.0] * len(names), np.float32)
    scale, aggregation = c["scale_rewards"], c["multi_objective_aggregation"]
    process = process_rewards.indices(c)
    whole = [i for i in range(len(names)) if i not in process]
    image = tuple(c["reward_funcs"][i] in c["image_reward_funcs"] for i in whole)
    rewards, drawn = gathered.astype(np.float32), None
    given = rewards[..., whole], weights[whole]
    if any(image):
        found, drawn = jax.device_get(_by_modality(*given, image, scale, aggregation))
    else:
        found = jax.device_get(_advantages(*given, scale, aggregation))
    each = [np.asarray(x, np.float32) for x in (found.advantage, drawn) if x is not None]
    right, wrong = all_right_all_wrong(gathered[..., 0])
    metrics = {
        "reward": found.reward,
        "reward_std": found.reward_std,
        "frac_reward_zero_std": found.frac_reward_zero_std,
        "frac_groups/all_right": right.mean(),
        "frac_groups/all_wrong": wrong.mean(),
    }
    for name, column in zip(names, np.moveaxis(gathered, -1, 0), strict=True):
        known = column[~np.isnan(column)]
        metrics[f"rewards/{name}/mean"] = known.mean() if known.size else np.nan
        metrics[f"rewards/{name}/std"] = known.std(ddof=1) if known.size > 1 else np.nan
    # the least and the largest; normalize_then_sum gives equal samples an equal number near 0
    informative = np.any(
        [np.fmin.reduce(x, axis=1) < np.fmax.reduce(x, axis=1) for x in each], axis=0
    )
    if process:
        parts = process_rewards.advantages(parts, weights[process], scale)
        informative |= parts[..., 2].any(axis=(1, 2, 3))
        # a sample that has process rewards only has no other advantage
        scored = ~np.isnan(rewards[..., process]).all(axis=-1)
        each[0] = np.where(np.isnan(each[0]) & scored, 0, each[0])
        every = np.nansum(rewards * weights, axis=-1)[~np.isnan(rewards).all(axis=-1)]
        metrics |= {
            "reward": every.mean() if every.size else np.nan,
            "reward_std": every.std(ddof=1) if every.size > 1 else np.nan,
            "frac_reward_zero_std": 1 - informative.mean(),
        }
    metrics = {name: float(value) for name, value in metrics.items()}
    advantage, *drawn = (x.reshape(-1) for x in each)
    return Groups(gathered, advantage, informative, metrics, *(drawn or [None]), parts)


# one program: without jit each operation is compiled by itself, 40 programs and 2 s on a CPU
_advantages = jax.jit(formulas.group_advantages, static_argnames=("scale", "aggregation"))
_by_modality = jax.jit(
    formulas.modality_advantages, static_argnames=("image", "scale", "aggregation")
)


def informative_first(
    advantage: Float[np.ndarray, "B G"], parts: int
) -> Int[np.ndarray, "B"] | None:
    """Returns an order of rows that fills micro-batches with informative rows one by one.

    A row without an advantage other than 0 has no gradient, and a micro-batch of such rows alone is
    skipped. Row b goes to micro-batch b mod `parts`. None: the order skips no more of them.
    """
    teaches = (np.nan_to_num(advantage) != 0).any(axis=1)
    used = teaches.reshape(-1, parts).any(axis=0).sum()
    rows = len(teaches) // parts
    if used <= -(-teaches.sum() // rows):
        return None
    # 6 rows in 2 micro-batches, a b a b a b: the rows of a are 0 2 4
    slots = np.argsort(np.arange(len(teaches)) % parts, kind="stable")
    order = np.empty(len(teaches), np.int32)
    order[slots] = np.argsort(~teaches, kind="stable")
    return order


def all_right_all_wrong(rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two bool [N] from the first reward [N G]: all samples at least 1, and no sample above 0.

    A group of which no sample has a reward is neither.
    """
    known = ~np.isnan(rewards).all(axis=1)
    with np.errstate(invalid="ignore"):
        return (rewards >= 1).all(axis=1), known & ~(rewards > 0).any(axis=1)
