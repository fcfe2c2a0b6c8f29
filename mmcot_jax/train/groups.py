"""Rewards of groups: advantages, informative groups, metrics.

Axes: N prompts, G samples per prompt, B = N G rows, R rewards.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from mmcot_jax import mesh as meshes
from mmcot_jax.rewards import short_names
from mmcot_jax.train import advantages as formulas


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
    """float32 [B], what image tokens have besides, with `image_reward_funcs`; NaN where no reward
    of pictures applies."""


def group(rewards: np.ndarray, c: Mapping[str, Any], mesh: Mesh) -> Groups:
    """Computes advantages and TRL's metrics from rewards, float64 [B R], of this process.

    `mesh` is the one that the rows were sampled on.
    """
    shape = (-1, c["num_generations"], len(c["reward_funcs"]))
    return compare(meshes.gather(rewards, mesh).reshape(shape), c)


def compare(gathered: np.ndarray, c: Mapping[str, Any]) -> Groups:
    """Computes advantages and TRL's metrics from the rewards of all processes, float64 [N G R]."""
    names = short_names(c["reward_funcs"])
    weights = np.array(c["reward_weights"] or [1.0] * len(names), np.float32)
    scale, aggregation = c["scale_rewards"], c["multi_objective_aggregation"]
    image = tuple(name in c["image_reward_funcs"] for name in c["reward_funcs"])
    given, drawn = (gathered.astype(np.float32), weights), None
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
    metrics = {name: float(value) for name, value in metrics.items()}
    advantage, *drawn = (x.reshape(-1) for x in each)
    return Groups(gathered, advantage, informative, metrics, *drawn)


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
