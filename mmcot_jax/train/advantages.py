"""Formulas of GRPO and its variants: rewards to advantages.

Axes: N prompts, G samples per prompt, R rewards, B = N G rows, T time (completions only).
Names and values of options are TRL's, and the results equal TRL's to 1e-6, where every sample has
a reward.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mmcot_jax.errors import check_choice
from mmcot_jax.options.choices import AGGREGATIONS, SCALES

_EPS = 1e-4
_EQUAL = 1e-8
"""Largest std of rewards that do not differ."""


class Advantages(NamedTuple):
    """Advantages, and what is logged of the rewards."""

    advantage: Float[Array, "N G"]
    """NaN where the sample has no reward; `token_weights` leaves it out."""
    reward: Float[Array, ""]
    reward_std: Float[Array, ""]
    """Over all samples."""
    frac_reward_zero_std: Float[Array, ""]
    """Share of groups (scale batch: of the batch) whose rewards do not differ."""
    std: Float[Array, "M 1"]
    """Unbiased, of the M groups (scale batch: M is 1); NaN for fewer than two rewards."""


def weighted(rewards: Float[Array, "*N R"], weights: Float[Array, "R"]) -> Float[Array, "*N"]:
    """Weighted sum of the rewards without those that are NaN (not applicable); NaN if all are."""
    total = jnp.nansum(rewards.astype(jnp.float32) * weights, axis=-1)
    return jnp.where(jnp.all(jnp.isnan(rewards), axis=-1), jnp.nan, total)


def group_advantages(
    rewards: Float[Array, "N G R"],
    weights: Float[Array, "R"],
    scale: str | bool = "group",
    aggregation: str = "sum_then_normalize",
) -> Advantages:
    """Advantages of each sample over its group, by TRL's `multi_objective_aggregation`.

    Raises:
        ValueError: an unknown scale or aggregation.
    """
    check_choice("multi_objective_aggregation", aggregation, AGGREGATIONS)
    if aggregation == "normalize_then_sum":
        return normalize_then_sum(rewards, weights)
    return advantages(weighted(rewards, weights), scale)


class ModalityAdvantages(NamedTuple):
    """Advantages by modality."""

    every: Advantages
    """Its `advantage` is for all tokens; its reward, std and share are of both modalities."""
    image: Float[Array, "N G"]
    """Added on image tokens; NaN where no picture is scored."""


def modality_advantages(
    rewards: Float[Array, "N G R"],
    weights: Float[Array, "R"],
    image: Sequence[bool],
    scale: str | bool = "group",
    aggregation: str = "sum_then_normalize",
) -> ModalityAdvantages:
    """Advantages of all tokens, and of image tokens from the rewards that `image` marks.

    A reward of a picture does not judge the words around it. The two kinds are scaled apart, so
    that neither outweighs the other. An image token has the sum of both advantages, not the
    picture's alone: the answer is read from the picture, so it rewards the picture too.

    Raises:
        ValueError: as `group_advantages`.
    Source: arXiv 2606.14792, by its abstract: rewards assigned independently to text and image
        segments. The sum is a choice made here.
    """
    drawn, every = (
        group_advantages(rewards[..., pick], weights[pick], scale, aggregation)
        for pick in map(np.flatnonzero, (image, np.logical_not(image)))
    )
    both = _moments(weighted(rewards, weights), axis=None)
    # a group without pictures has no std of its pictures, and nothing differs there
    equal = (every.std <= _EQUAL) & ~(drawn.std > _EQUAL)
    every = every._replace(
        reward=both.mean.reshape(()),
        reward_std=both.std.reshape(()),
        frac_reward_zero_std=jnp.mean(equal, dtype=jnp.float32),
    )
    return ModalityAdvantages(every, drawn.advantage)


def advantages(rewards: Float[Array, "N G"], scale: str | bool = "group") -> Advantages:
    """(r - group mean) / (std + 1e-4), with the group's or the batch's std, or undivided.

    As in TRL, True is "group" and False "none".

    The std is unbiased (n - 1). NaN rewards are left out of means and stds. A group of equal
    rewards, or with one reward only, gets exact zeros.

    Raises:
        ValueError: an unknown scale.
    Source: arXiv 2402.03300 section 4.1.2; scale none: arXiv 2503.20783; batch: 2508.08221.
    """
    scale = {True: "group", False: "none"}.get(scale, scale)
    check_choice("scale_rewards", scale, SCALES)
    rewards = rewards.astype(jnp.float32)
    group, batch = _moments(rewards, axis=1), _moments(rewards, axis=None)
    std = batch.std if scale == "batch" else group.std
    centred = jnp.where(group.std > 0, rewards - group.mean, 0.0)
    # a group with one reward has no std
    scaled = centred if scale == "none" else jnp.nan_to_num(centred / (std + _EPS))
    return _advantages(scaled, rewards, batch, std)


def normalize_then_sum(rewards: Float[Array, "N G R"], weights: Float[Array, "R"]) -> Advantages:
    """Scales each reward by its group's std, sums them, and scales the sums by the batch's std.

    Source: arXiv 2601.05242 (GDPO).
    """
    rewards = rewards.astype(jnp.float32)
    group = _moments(rewards, axis=1)
    each = jnp.where(group.std > 0, (rewards - group.mean) / (group.std + _EPS), 0.0)
    plain = weighted(rewards, weights)
    total = jnp.where(jnp.isnan(plain), jnp.nan, jnp.nansum(each * weights, axis=-1))
    batch = _moments(total, axis=None)
    scaled = (total - batch.mean) / (batch.std + _EPS)
    return _advantages(scaled, plain, _moments(plain, axis=None), batch.std)


def _advantages(scaled, rewards, batch, std) -> Advantages:
    return Advantages(
        jnp.where(jnp.isnan(rewards), jnp.nan, scaled),
        batch.mean.reshape(()),
        batch.std.reshape(()),
        jnp.mean(std <= _EQUAL, dtype=jnp.float32),
        std,
    )


class _Moments(NamedTuple):
    mean: Array
    std: Array


def _moments(x: Array, axis: int | None) -> _Moments:
    """Mean and unbiased std without NaNs; std is 0 for equal values, NaN for a single one."""
    mean = jnp.nanmean(x, axis=axis, keepdims=True)
    std = jnp.nanstd(x, axis=axis, keepdims=True, ddof=1)
    equal = jnp.nanmax(x, axis=axis, keepdims=True) == jnp.nanmin(x, axis=axis, keepdims=True)
    return _Moments(mean, jnp.where(equal & ~jnp.isnan(std), 0.0, std))


def token_advantage(
    advantage: Float[Array, "B"], image_advantage: Float[Array, "B"], image: Bool[Array, "B T"]
) -> Float[Array, "B T"]:
    """Adds the advantage of pictures to image tokens; NaN counts as 0 unless both are NaN."""
    both = jnp.stack([advantage, image_advantage], axis=-1)
    return jnp.where(image, weighted(both, jnp.ones(2))[:, None], advantage[:, None])
