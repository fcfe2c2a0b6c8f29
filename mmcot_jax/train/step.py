"""Jitted training steps: gradients summed over micro-batches, then one optimizer update.

Axes: B rows, N prompts, G completions of each, T time.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from mmcot_jax.sample import distribution
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.grammar import is_eos
from mmcot_jax.train import objective as formulas
from mmcot_jax.train.accumulate import Skip, accumulate
from mmcot_jax.train.advantages import token_advantage
from mmcot_jax.train.logps import score, score_rollout
from mmcot_jax.train.objective import LossSums, Objective
from mmcot_jax.train.optim import join, optimizer
from mmcot_jax.types import (
    Backbone,
    Batch,
    Experience,
    Grammar,
    Rollout,
    TrainState,
    Variables,
    merge_microbatches,
    row_axes,
    split_microbatches,
)


class SftStatic(NamedTuple):
    """The static arguments of `sft_step`; hashable."""

    backbone: Backbone
    optimizer: optax.GradientTransformation
    what: str
    """The variables that are trained: a name of `optim.WHAT`."""
    micro_batches: int
    dropout: bool
    chunk: int
    """Positions whose logits exist at once."""
    image_weight: float = 1.0
    """How many text tokens an image token counts as."""

    @classmethod
    def of(cls, backbone: Backbone, c: Mapping[str, Any], steps: int) -> "SftStatic":
        """The static arguments for a config's `sft` group and a run of `steps` updates."""
        return cls(
            backbone,
            optimizer(c, steps),
            what=c["what"],
            micro_batches=c["gradient_accumulation_steps"],
            dropout=c["what"] == "lora",
            chunk=c["logps_chunk"],
            image_weight=c["image_weight"],
        )


class GrpoStatic(NamedTuple):
    """The static arguments of `grpo_step` and `rollout_logps`; hashable."""

    backbone: Backbone
    optimizer: optax.GradientTransformation
    what: str
    """The variables that are trained: a name of `optim.WHAT`."""
    objective: Objective
    sampling: Sampling
    """The sampling of the rollouts."""
    micro_batches: int
    chunk: int
    """Positions whose logits exist at once."""

    @classmethod
    def of(cls, backbone: Backbone, c: Mapping[str, Any], steps: int) -> "GrpoStatic":
        """The static arguments for a config's `grpo` group and a run of `steps` updates.

        Raises:
            ValueError: as `objective.check` and `distribution.sampling`.
        """
        return cls(
            backbone,
            optimizer(c, steps),
            what=c["what"],
            objective=formulas.from_config(c),
            sampling=distribution.sampling(c, "grpo"),
            micro_batches=c["gradient_accumulation_steps"],
            chunk=c["logps_chunk"],
        )


def start(trained: PyTree, optimizer: optax.GradientTransformation) -> TrainState:
    """The state at step 0."""
    return TrainState(jnp.zeros((), jnp.int32), trained, optimizer.init(trained))


class SftSums(NamedTuple):
    """Sums over the rows of a micro-batch; the step adds them up and divides once."""

    nll: Float[Array, ""]
    count: Float[Array, ""]
    correct: Float[Array, ""]
    image_nll: Float[Array, ""]
    image_count: Float[Array, ""]


def sft_sums(
    backbone: Backbone,
    grammar: Grammar,
    variables: Variables,
    batch: Batch,
    dropout: jax.Array | None,
    chunk: int,
) -> SftSums:
    """Sums the negative log-likelihood, in nats, and the tokens that `batch.loss` marks."""
    batch = backbone.prepare(variables, batch)
    hidden, _ = backbone(variables, batch, dropout=dropout)
    # hidden t predicts token t + 1; the last one predicts nothing
    targets = jnp.roll(batch.tokens, -1, axis=1)
    mask = jnp.roll(batch.loss & batch.valid, -1, axis=1).at[:, -1].set(False)
    scores = score(backbone, variables, hidden, targets, chunk)
    nll = jnp.where(mask, -scores.logps, 0.0)
    image = mask & grammar.is_image[targets]
    total = partial(jnp.sum, dtype=jnp.float32)
    return SftSums(
        total(nll),
        total(mask),
        total(mask & scores.is_argmax),
        total(jnp.where(image, nll, 0.0)),
        total(image),
    )


@partial(jax.jit, static_argnames=("static",), donate_argnames=("state",))
def sft_step(
    state: TrainState,
    frozen: Variables,
    batch: Batch,
    grammar: Grammar,
    key: jax.Array,
    static: SftStatic,
) -> tuple[TrainState, dict[str, Array]]:
    """Makes one update from the next-token loss of B rows.

    Returns the state and scalars: `loss` in nats per token, the same for text and image tokens
    apart, `mean_token_accuracy`, `grad_norm` before clipping, `num_tokens`, `learned_tokens`.
    """
    key = jax.random.fold_in(key, state.step)

    def nll(trained, part, key):
        variables = join(trained, frozen, static.what)
        dropout = key if static.dropout else None
        sums = sft_sums(static.backbone, grammar, variables, part, dropout, static.chunk)
        return weighted(sums.nll, sums.image_nll), sums

    def weighted(total, image):
        return total - (1 - static.image_weight) * image

    gradient, sums = accumulate(nll, state.trained, batch, key, static.micro_batches)
    count = weighted(sums.count, sums.image_count)
    gradient = jax.tree.map(lambda g: g / jnp.maximum(count, 1.0), gradient)
    state, norm = update(state, gradient, static.optimizer)
    text_nll, text_count = sums.nll - sums.image_nll, sums.count - sums.image_count
    return state, {
        "loss": _mean(weighted(sums.nll, sums.image_nll), count),
        "loss_text": _mean(text_nll, text_count),
        "loss_image": _mean(sums.image_nll, sums.image_count),
        "mean_token_accuracy": _mean(sums.correct, sums.count),
        "grad_norm": norm,
        "num_tokens": jnp.sum(batch.valid),
        "learned_tokens": sums.count,
    }


def grpo_sums(
    static: GrpoStatic, grammar: Grammar, variables: Variables, experience: Experience
) -> LossSums:
    """Sums the objective, and the metrics beside it, over these rows."""
    rollout = experience.rollout
    policy = score_rollout(
        static.backbone, variables, grammar, rollout, static.sampling, static.chunk
    )
    sums = _loss_sums(static, grammar, experience, policy.logps)
    tokens, sampled, sampler_logps, logps, entropy = map(
        _flat, (rollout.tokens, rollout.sampled, rollout.logps, *policy)
    )
    image = grammar.is_image[tokens]
    # before any update on these rollouts the trainer differs from the sampler by rounding only
    trainer = logps if experience.old_logps is None else _flat(experience.old_logps)
    gap = jnp.where(sampled, jax.lax.stop_gradient(trainer) - sampler_logps, 0.0)
    total = partial(jnp.sum, where=sampled, dtype=jnp.float32)
    more = {
        "micro_batches": jnp.ones(()),
        "choices": total(jnp.ones_like(gap)),
        "image_choices": total(image),
        "entropy": total(entropy),
        "image_entropy": total(entropy * image),
        "gap": total(jnp.abs(gap)),
        "ratio": total(jnp.exp(gap)),
    }
    largest = {
        "gap": jnp.max(jnp.abs(gap)),
        "ratio": jnp.max(jnp.exp(gap), where=sampled, initial=0.0),
        "inverse_ratio": jnp.max(jnp.exp(-gap), where=sampled, initial=0.0),
    }
    return sums._replace(sums=sums.sums | more, largest=sums.largest | largest)


def _loss_sums(
    static: GrpoStatic, grammar: Grammar, experience: Experience, logps: Float[Array, "N G T"]
) -> LossSums:
    o, rollout = static.objective, experience.rollout
    done, advantage = ended(grammar, rollout).reshape(-1), experience.advantage.reshape(-1)
    old_logps, ref_logps = experience.old_logps, experience.ref_logps
    tokens, sampled, logps, old_logps, ref_logps = jax.tree.map(
        _flat, (rollout.tokens, rollout.sampled, logps, old_logps, ref_logps)
    )
    image = grammar.is_image[tokens]
    if experience.image_advantage is not None:
        advantage = token_advantage(advantage, experience.image_advantage.reshape(-1), image)
    if experience.token_advantage is not None:
        advantage = formulas.by_token(advantage) + _flat(experience.token_advantage)
    weight = formulas.token_weights(o, sampled, image, done, advantage)
    return formulas.loss_sums(o, logps, old_logps, ref_logps, advantage, weight)


def _flat(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


def ended(grammar: Grammar, rollout: Rollout) -> Bool[Array, "N G"]:
    """True for completions that end in EOS; the token budget truncated the others."""
    return jnp.any(rollout.valid & is_eos(grammar, rollout.tokens), axis=-1)


def regroup(rollout: Rollout, generations: int) -> Rollout:
    """Splits groups into rows of `generations` completions, each with its prompt."""
    n, g, _ = rollout.tokens.shape
    prompt, more = rollout.prompt, g // generations

    def repeat(x, axis):
        return jnp.repeat(x, more, axis=axis)

    prompt = jax.tree.map(repeat, prompt, row_axes(prompt))
    rest = jax.tree.map(
        lambda x: x.reshape(n * more, generations, -1), rollout._replace(prompt=None, decoded=None)
    )
    return rest._replace(prompt=prompt)


@partial(jax.jit, static_argnames=("static",), donate_argnames=("state",))
def grpo_step(
    state: TrainState,
    frozen: Variables,
    experience: Experience,
    grammar: Grammar,
    static: GrpoStatic,
) -> tuple[TrainState, dict[str, Array]]:
    """Makes one update from N G sampled completions, without dropout.

    Returns the state and scalars by TRL's names: `loss`, `grad_norm` before clipping, `entropy` in
    nats of the tokens that were sampled, the same for text and image tokens apart, the metrics of
    `objective.finalize`, and the distance of the sampler's log-probabilities from the trainer's:
    `sampling/...`, which is 0 (ratio 1) up to rounding.

    A micro-batch whose advantages are all 0 has no gradient, unless there is a `beta`. Its forward
    and backward pass are left out, so `entropy` and `sampling/...` are those of the others. The
    first one is always computed. `frac_micro_batches/skipped` is the share that was left out.
    """

    def numerator(trained, part, _):
        variables = join(trained, frozen, static.what)
        sums = grpo_sums(static, grammar, variables, part)
        return sums.numerator, sums

    def skipped(part, zeros):
        # advantages of 0 make a loss of 0 from any log-probabilities; tokens and rows still count
        rollout, part = part.rollout, part._replace(old_logps=None)
        sums = _loss_sums(static, grammar, part, rollout.logps)
        return sums._replace(sums=zeros.sums | sums.sums, largest=zeros.largest | sums.largest)

    skip = None
    if can_skip(static.objective, experience):
        skip = Skip(lambda part: ~jnp.any(is_informative(part)), skipped)
    parts = static.micro_batches
    gradient, sums = accumulate(
        numerator, state.trained, experience, None, parts, formulas.merge, skip
    )
    by = jnp.where(sums.denominator > 0, sums.denominator, 1.0)
    state, norm = update(state, jax.tree.map(lambda g: g / by, gradient), static.optimizer)
    loss, metrics = formulas.finalize(static.objective, sums)
    s, largest, choices = sums.sums, sums.largest, sums.sums["choices"]
    text_entropy, text_choices = s["entropy"] - s["image_entropy"], choices - s["image_choices"]
    return state, metrics | {
        "loss": loss,
        "grad_norm": norm,
        "entropy": _mean(s["entropy"], choices),
        "entropy/text": _mean(text_entropy, text_choices),
        "entropy/image": _mean(s["image_entropy"], s["image_choices"]),
        "sampling/sampling_logp_difference/mean": _mean(s["gap"], choices),
        "sampling/sampling_logp_difference/max": largest["gap"],
        "sampling/importance_sampling_ratio/min": 1 / largest["inverse_ratio"],
        "sampling/importance_sampling_ratio/mean": _mean(s["ratio"], choices),
        "sampling/importance_sampling_ratio/max": largest["ratio"],
        "frac_micro_batches/skipped": 1 - s["micro_batches"] / parts,
    }


def is_informative(experience: Experience) -> Bool[Array, "N"]:
    """True for rows with an advantage that is neither 0 nor NaN: the others have no gradient."""
    given = experience.advantage, experience.image_advantage, experience.token_advantage
    each = [x.reshape(len(x), -1) for x in given if x is not None]
    return jnp.any(jnp.nan_to_num(jnp.concatenate(each, axis=1)) != 0, axis=1)


def can_skip(o: Objective, experience: Experience) -> bool:
    """True if rows whose advantages are 0 have no gradient and no divergence to measure."""
    return not o.beta and experience.ref_logps is None


@jax.jit
def take_rows(experience: Experience, order: Int[Array, "N"]) -> Experience:
    """Reorders the rows of an experience."""
    return jax.tree.map(
        lambda x, axis: jnp.take(x, order, axis=axis), experience, row_axes(experience)
    )


@partial(jax.jit, static_argnames=("static",))
def rollout_logps(
    variables: Variables, rollout: Rollout, grammar: Grammar, static: GrpoStatic
) -> Float[Array, "N G T"]:
    """Computes log-probabilities, in nats, of sampled tokens, for `Experience`.

    `variables` are those of the policy before its updates (`old_logps`), or of the reference
    (`ref_logps`).
    """

    def one(part):
        return score_rollout(
            static.backbone, variables, grammar, part, static.sampling, static.chunk
        ).logps

    if static.micro_batches == 1:
        return one(rollout)
    return merge_microbatches(jax.lax.map(one, split_microbatches(rollout, static.micro_batches)))


def update(
    state: TrainState, gradient: PyTree, optimizer: optax.GradientTransformation
) -> tuple[TrainState, Float[Array, ""]]:
    """Returns the next state, and the gradient's norm before clipping."""
    change, opt = optimizer.update(gradient, state.opt, state.trained)
    trained = optax.apply_updates(state.trained, change)
    return TrainState(state.step + 1, trained, opt), optax.tree.norm(gradient)


def _mean(total: Float[Array, ""], count: Float[Array, ""]) -> Float[Array, ""]:
    return total / jnp.maximum(count, 1.0)
