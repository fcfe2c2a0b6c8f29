"""Formulas of GRPO and its variants: rewards to advantages, log-probabilities to a loss.

Axes: N prompts, G samples per prompt, R rewards, B = N G rows, T time (completions only).
Names and values of options are TRL's, and the results equal TRL's to 1e-6.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmcot_jax.errors import check_choice
from mmcot_jax.options.table import AGGREGATIONS, LEVELS, LOSS_TYPES, SCALES

_CLIPPED = ("grpo", "bnpo", "dr_grpo", "dapo")
_BY_ROW = ("grpo", "sapo")
_EPS = 1e-4


class Objective(NamedTuple):
    """The loss that is minimised; hashable. The defaults are TRL's."""

    loss_type: str = "dapo"
    """grpo, sapo: mean over rows of each row's mean; dapo, cispo, bnpo: mean over all tokens of
    the update; dr_grpo: sum over tokens / (rows * max_completion_length)."""
    importance_sampling_level: str = "token"
    """Unit of the importance ratio: a token, or a sequence (GSPO, arXiv 2507.18071)."""
    epsilon: float = 0.2
    """Lower clip of the ratio: 1 - epsilon."""
    epsilon_high: float | None = None
    """Upper clip of the ratio: 1 + epsilon_high; None: epsilon. cispo: the cap on the ratio."""
    delta: float | None = None
    """Cap on the unclipped ratio, for advantages below 0 (two-sided clipping)."""
    beta: float = 0.0
    """Weight of the divergence from the reference, k3 (http://joschu.net/blog/kl-approx.html)."""
    use_bias_correction_kl: bool = True
    """Multiplies the divergence by the ratio, which makes it unbiased off-policy."""
    sapo_temperature_pos: float = 1.0
    """sapo: temperature of the gate for advantages above 0 ..."""
    sapo_temperature_neg: float = 1.05
    """... and for those below."""
    max_completion_length: int = 512
    """Tokens; dr_grpo's divisor."""
    text_weight: float = 1.0
    image_weight: float = 1.0
    """A token of weight w counts as w tokens; 0 leaves it out."""
    mask_truncated_completions: bool = False
    """Leaves rows that do not end in EOS out of the loss."""


def from_config(c: Mapping[str, Any]) -> Objective:
    """The objective that the keys of a config describe, checked.

    Raises:
        ValueError: as `check`.
    """
    return check(Objective(**{name: c[name] for name in Objective._fields if name in c}))


def check(o: Objective) -> Objective:
    """Returns the objective unchanged.

    Raises:
        ValueError: an unknown name, or a number out of its range.
    """
    check_choice("loss_type", o.loss_type, LOSS_TYPES)
    check_choice("importance_sampling_level", o.importance_sampling_level, LEVELS)
    high = _high(o)
    faults = [
        (o.epsilon < 0 or high < 0, f"epsilon is {o.epsilon} and epsilon_high {o.epsilon_high}",
         "give numbers from 0 on"),
        (o.loss_type == "cispo" and (o.epsilon_high or 0) < 1, f"epsilon_high is {o.epsilon_high}",
         "cispo caps the ratio itself there; give a number like 5.0"),
        (o.delta is not None and o.delta <= 1 + high, f"delta is {o.delta}",
         f"the ratio is clipped at {1 + high} already; give more than that, or None"),
        (o.beta < 0, f"beta is {o.beta}", "give a number from 0 on"),
        (min(o.sapo_temperature_pos, o.sapo_temperature_neg) <= 0, "a sapo_temperature is not > 0",
         "give positive numbers"),
        (o.loss_type == "dr_grpo" and o.max_completion_length < 1,
         f"max_completion_length is {o.max_completion_length}",
         "dr_grpo divides by it; give the sampling budget in tokens"),
        (min(o.text_weight, o.image_weight) < 0 or o.text_weight + o.image_weight <= 0,
         f"text_weight is {o.text_weight} and image_weight {o.image_weight}",
         "give numbers from 0 on, not both 0"),
    ]  # fmt: skip
    for wrong, given, remedy in faults:
        if wrong:
            raise ValueError(f"{given}; {remedy}")
    return o


def _high(o: Objective) -> float:
    return o.epsilon if o.epsilon_high is None else o.epsilon_high


class Advantages(NamedTuple):
    """Advantages, and what is logged of the rewards."""

    advantage: Float[Array, "N G"]
    """NaN where the sample has no reward; `token_weights` leaves it out."""
    reward: Float[Array, ""]
    reward_std: Float[Array, ""]
    """Over all samples."""
    frac_reward_zero_std: Float[Array, ""]
    """Share of groups (scale batch: of the batch) whose rewards do not differ."""


def weighted(rewards: Float[Array, "N G R"], weights: Float[Array, "R"]) -> Float[Array, "N G"]:
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
        jnp.mean(std <= 1e-8, dtype=jnp.float32),
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


def token_weights(
    o: Objective,
    sampled: Bool[Array, "B T"],
    image: Bool[Array, "B T"],
    ended: Bool[Array, "B"],
    advantage: Float[Array, "B"],
) -> Float[Array, "B T"]:
    """Number of tokens each token counts as: its modality's weight, or 0 to leave it out.

    `sampled` is False where the grammar left no choice; `ended` is True for rows that end in EOS.
    Rows with a NaN advantage have weight 0.
    """
    row = ~jnp.isnan(advantage) & (ended | (not o.mask_truncated_completions))
    weight = jnp.where(image, o.image_weight, o.text_weight)
    return jnp.where(sampled & row[:, None], weight, 0.0).astype(jnp.float32)


class LossSums(NamedTuple):
    """Sums over the rows of a micro-batch, divided once at the end; `largest` holds maxima."""

    numerator: Float[Array, ""]
    denominator: Float[Array, ""]
    sums: dict[str, Float[Array, ""]]
    largest: dict[str, Float[Array, ""]]
    """Non-negative numbers."""


def merge(a: LossSums, b: LossSums) -> LossSums:
    """Combines the sums of two parts of a batch; zeros stand for no rows."""
    largest = jax.tree.map(jnp.maximum, a.largest, b.largest)
    return jax.tree.map(jnp.add, a, b)._replace(largest=largest)


def loss_sums(
    o: Objective,
    logps: Float[Array, "B T"],
    old_logps: Float[Array, "B T"] | None,
    ref_logps: Float[Array, "B T"] | None,
    advantage: Float[Array, "B"],
    weight: Float[Array, "B T"],
) -> LossSums:
    """Numerator and denominator of the loss; only `logps` has a gradient.

    `weight` comes from `token_weights`; values where it is 0 are ignored. `old_logps` None means
    those of this policy. With `ref_logps` the sums hold `kl`, which at beta 0 is only logged.

    Raises:
        ValueError: beta without reference log-probabilities.
    """
    if o.beta and ref_logps is None:
        raise ValueError(
            f"beta is {o.beta} and there are no reference log-probabilities; "
            "compute them with rollout_logps, or set beta to 0"
        )
    still = jax.lax.stop_gradient
    counts = weight > 0
    logps = jnp.where(counts, logps, 0.0)
    old_logps = still(logps if old_logps is None else jnp.where(counts, old_logps, 0.0))
    advantage = jnp.nan_to_num(advantage)[:, None]
    length = jnp.sum(weight, axis=1)
    rows, tokens = jnp.float32(weight.shape[0]), jnp.sum(length)
    by_sequence = o.importance_sampling_level == "sequence"

    log_ratio = logps - old_logps
    if by_sequence:
        log_ratio = _divide(jnp.sum(log_ratio * weight, axis=1), length)[:, None]
    ratio = jnp.exp(log_ratio)
    losses, clipped = _policy(o, ratio, logps, advantage)
    sums = {"tokens": tokens, "rows": rows}
    if ref_logps is not None:
        kl = _k3(logps, jnp.where(counts, ref_logps, 0.0))
        kl = kl * ratio if o.use_bias_correction_kl else kl
        losses = losses + o.beta * kl
        sums["kl"] = still(jnp.sum(kl * weight))

    by_row = jnp.sum(losses * weight, axis=1)
    if o.loss_type in _BY_ROW:
        numerator, denominator = jnp.sum(_divide(by_row, length)), rows
    elif o.loss_type == "dr_grpo":
        numerator, denominator = jnp.sum(by_row), rows * o.max_completion_length
    else:
        numerator, denominator = jnp.sum(by_row), tokens

    largest = {}
    for name, where in clipped.items():
        # one ratio a row: the row is clipped or not, however long
        share = jnp.where(by_sequence, where[:, 0], _divide(jnp.sum(where * weight, 1), length))
        sums[name] = jnp.sum(share if by_sequence else where * weight)
        rest = jnp.where(by_sequence | (length > 0), 1 - share, 0.0)
        largest[f"{name}_most"], largest[f"{name}_rest"] = jnp.max(share), jnp.max(rest)
    return LossSums(numerator, denominator, sums, largest)


def _policy(
    o: Objective, ratio: Array, logps: Float[Array, "B T"], advantage: Float[Array, "B 1"]
) -> tuple[Array, dict[str, Array]]:
    """Losses per token (or row), and indicators of a clipped ratio."""
    high, mark = _high(o), lambda x: x.astype(jnp.float32)
    if o.loss_type == "cispo":  # arXiv 2506.13585: the ratio is a weight without a gradient
        cap = jax.lax.stop_gradient(jnp.minimum(ratio, high))
        return -cap * advantage * logps, {"cispo": mark((ratio > high) & (advantage > 0))}
    if o.loss_type == "sapo":  # arXiv 2511.20347: a soft gate instead of the clip
        heat = jnp.where(advantage > 0, o.sapo_temperature_pos, o.sapo_temperature_neg)
        return -jax.nn.sigmoid(heat * (ratio - 1)) * 4 / heat * advantage, {}
    inside = jnp.clip(ratio, 1 - o.epsilon, 1 + high)
    ratio = ratio if o.delta is None else jnp.minimum(ratio, o.delta)
    low_clipped = mark((ratio < 1 - o.epsilon) & (advantage < 0))
    high_clipped = mark((ratio > 1 + high) & (advantage > 0))
    losses = -jnp.minimum(ratio * advantage, inside * advantage)
    return losses, {"low": low_clipped, "high": high_clipped}


def _k3(logps: Array, ref_logps: Array) -> Array:
    """Non-negative estimate of the divergence from the reference, in nats."""
    difference = jax.lax.stop_gradient(ref_logps) - logps
    return jnp.exp(difference) - difference - 1


def _divide(total: Array, count: Array) -> Array:
    """total / count, or 0 where count is 0."""
    return jnp.where(count > 0, total / jnp.where(count > 0, count, 1.0), 0.0)


def finalize(o: Objective, t: LossSums) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Loss, and metrics by TRL's names: `kl` in nats, shares of tokens (or rows) clipped."""
    s = t.sums
    units = s["rows"] if o.importance_sampling_level == "sequence" else s["tokens"]
    metrics = {}
    if "kl" in s:
        metrics["kl"] = _divide(s["kl"], s["tokens"])
    if "cispo" in s:
        metrics["cispo_clip_ratio"] = _divide(s["cispo"], units)
    if "low" in s:
        low, high = _divide(s["low"], units), _divide(s["high"], units)
        metrics |= {
            "clip_ratio/low_mean": low,
            # without any token there is no rest, and the mean is 0
            "clip_ratio/low_min": jnp.minimum(1 - t.largest["low_rest"], low),
            "clip_ratio/high_mean": high,
            "clip_ratio/high_max": t.largest["high_most"],
            "clip_ratio/region_mean": low + high,
        }
    return _divide(t.numerator, t.denominator), metrics


def loss(
    o: Objective,
    logps: Float[Array, "B T"],
    old_logps: Float[Array, "B T"] | None,
    ref_logps: Float[Array, "B T"] | None,
    advantage: Float[Array, "B"],
    weight: Float[Array, "B T"],
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Loss and metrics of a whole batch."""
    return finalize(o, loss_sums(o, logps, old_logps, ref_logps, advantage, weight))
