"""Formulas of GRPO and its variants: log-probabilities and advantages to a loss.

Axes: B rows, T time (completions only).
Names and values of options are TRL's, and the results equal TRL's to 1e-6, where every sample has
a reward. A sample without one counts nowhere; TRL counts its tokens among those of the update.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmcot_jax.errors import check_choice
from mmcot_jax.options.choices import LEVELS, LOSS_TYPES

_BY_ROW = ("grpo", "sapo")
NO_SEQUENCE_RATIO = (
    "grpo.image_reward_funcs gives image tokens another advantage than text, and "
    "grpo.importance_sampling_level is 'sequence', one ratio for all of them; set the first to () "
    "or the second to 'token'"
)


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


def token_weights(
    o: Objective,
    sampled: Bool[Array, "B T"],
    image: Bool[Array, "B T"],
    ended: Bool[Array, "B"],
    advantage: Float[Array, "B"] | Float[Array, "B T"],
) -> Float[Array, "B T"]:
    """Number of tokens each token counts as: its modality's weight, or 0 to leave it out.

    `sampled` is False where the grammar left no choice; `ended` is True for rows that end in EOS.
    Rows, or tokens, with a NaN advantage have weight 0.
    """
    known = ~jnp.isnan(by_token(advantage))
    row = known & (ended | (not o.mask_truncated_completions))[:, None]
    weight = jnp.where(image, o.image_weight, o.text_weight)
    return jnp.where(sampled & row, weight, 0.0).astype(jnp.float32)


def by_token(advantage: Float[Array, "B"] | Float[Array, "B T"]) -> Float[Array, "B #T"]:
    """Returns an advantage of rows, or of tokens, with an axis of tokens."""
    return advantage if advantage.ndim == 2 else advantage[:, None]


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
    advantage: Float[Array, "B"] | Float[Array, "B T"],
    weight: Float[Array, "B T"],
) -> LossSums:
    """Numerator and denominator of the loss; only `logps` has a gradient.

    `weight` comes from `token_weights`; values where it is 0 are ignored. `old_logps` None means
    those of this policy. With `ref_logps` the sums hold `kl`, which at beta 0 is only logged.

    Raises:
        ValueError: beta without reference log-probabilities, or a ratio of sequences with
            advantages of tokens.
    """
    if o.beta and ref_logps is None:
        raise ValueError(
            f"beta is {o.beta} and there are no reference log-probabilities; "
            "compute them with rollout_logps, or set beta to 0"
        )
    by_sequence = o.importance_sampling_level == "sequence"
    if by_sequence and advantage.ndim == 2:
        raise ValueError(NO_SEQUENCE_RATIO)
    still = jax.lax.stop_gradient
    counts = weight > 0
    logps = jnp.where(counts, logps, 0.0)
    old_logps = still(logps if old_logps is None else jnp.where(counts, old_logps, 0.0))
    advantage = jnp.nan_to_num(by_token(advantage))
    length = jnp.sum(weight, axis=1)
    rows, tokens = jnp.float32(weight.shape[0]), jnp.sum(length)

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
    o: Objective, ratio: Array, logps: Float[Array, "B T"], advantage: Float[Array, "B #T"]
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
    advantage: Float[Array, "B"] | Float[Array, "B T"],
    weight: Float[Array, "B T"],
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Loss and metrics of a whole batch."""
    return finalize(o, loss_sums(o, logps, old_logps, ref_logps, advantage, weight))
