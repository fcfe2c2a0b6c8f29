"""Scored groups: what they teach, what is told of them.

Axes: N questions, G samples of each, B = N G rows, R rewards.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mmcot_jax import mesh as meshes
from mmcot_jax.train import objective as objectives


class Groups(NamedTuple):
    """The rewards of all processes, and this one's advantages."""

    values: np.ndarray
    """float64 [N G R] of all processes; NaN where a reward gave none."""
    advantage: np.ndarray
    """float32 [B] of this process; NaN where there is no reward at all."""
    teach: np.ndarray
    """bool [N] of all processes: whether a group's samples differ in what they are worth."""
    metrics: dict[str, float]


def group(values: np.ndarray, c: Mapping[str, Any], mesh: Mesh) -> Groups:
    """Rewards float64 [B R] of this process -> advantages and TRL's metrics over all processes."""
    g, names = c["num_generations"], c["reward_funcs"]
    everyone = meshes.gather(values, mesh).reshape(-1, g, len(names))
    weights = jnp.asarray(c["reward_weights"] or [1.0] * len(names), jnp.float32)
    total = objectives.weighted(jnp.asarray(everyone, jnp.float32), weights)
    found = jax.device_get(objectives.advantages(total, c["scale_rewards"]))
    advantage = np.asarray(found.advantage, np.float32)
    teach = (np.nan_to_num(advantage) != 0).any(axis=1)
    metrics = {
        "reward": float(found.reward),
        "reward_std": float(found.reward_std),
        "frac_reward_zero_std": float(found.frac_reward_zero_std),
    }
    for name, each in zip(names, np.moveaxis(everyone, -1, 0), strict=True):
        known = each[~np.isnan(each)]
        metrics[f"rewards/{name}/mean"] = float(known.mean()) if known.size else float("nan")
        metrics[f"rewards/{name}/std"] = (
            float(known.std(ddof=1)) if known.size > 1 else float("nan")
        )
    right, wrong = verdicts(everyone[..., 0])
    metrics |= {"frac_groups/all_right": right.mean(), "frac_groups/all_wrong": wrong.mean()}
    mine = advantage.reshape(-1)[meshes.rows(mesh, advantage.size)]
    return Groups(everyone, mine, teach, {k: float(v) for k, v in metrics.items()})


def mean(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of several processes' metrics; of times the longest, for which the others waited."""
    found: dict[str, list[float]] = {}
    for name, value in (item for each in metrics for item in each.items()):
        found.setdefault(name, []).append(value)
    return {
        name: max(values) if name.startswith("time/") else sum(values) / len(values)
        for name, values in found.items()
    }


def verdicts(rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the first reward [N G]: which groups have nothing but 1 or more, which nothing above 0."""
    with np.errstate(invalid="ignore"):
        return (rewards >= 1).all(axis=1), ~(rewards > 0).any(axis=1)


def arithmetic(c: Mapping[str, Any], devices: int) -> str:
    """The batch in one line, for `devices` along data and fsdp."""
    n, g, parts = c["prompts_per_step"], c["num_generations"], c["gradient_accumulation_steps"]
    return (
        f"{n} prompts x {g} generations = {n * g} sequences = {n * g // (devices * parts)} per "
        f"device x {devices} devices x {parts}"
    )


class Outlook(NamedTuple):
    """What a few groups say of the run before it begins."""

    groups: int
    right: int
    """Groups with every sample right, by the first reward."""
    wrong: int
    """Groups with none right."""
    equal: int
    """Groups whose weighted rewards are all the same, or that have none: they teach nothing."""
    lines: tuple[str, ...]


def outlook(
    groups: Groups,
    c: Mapping[str, Any],
    *,
    devices: int,
    prompt_tokens: np.ndarray,
    prompt_images: np.ndarray,
    image_tokens: int,
    completion_tokens: np.ndarray,
    ended: np.ndarray,
    pictures: np.ndarray,
) -> Outlook:
    """Whether there is something to learn, in numbers and in words."""
    right, wrong = (int(x.sum()) for x in verdicts(groups.values[..., 0]))
    n = len(groups.values)
    equal = n - int(groups.teach.sum())
    rewards = ", ".join(
        f"{name} {groups.metrics[f'rewards/{name}/mean']:.2f}" for name in c["reward_funcs"]
    )
    lines = (
        arithmetic(c, devices),
        f"{n} groups sampled: {right} all right, {wrong} all wrong, {n - right - wrong} mixed; "
        f"{n - equal} have something to learn from",
        f"rewards: {rewards}",
        f"completions: {completion_tokens.mean():.0f} tokens of {c['max_completion_length']}, "
        f"{100 * (1 - ended.mean()):.0f} % cut by the budget, "
        f"{pictures.mean():.1f} pictures of {image_tokens} tokens",
        f"prompts: {prompt_tokens.mean():.0f} tokens, {prompt_images.mean():.1f} pictures of them",
    )
    return Outlook(n, right, wrong, equal, lines)
