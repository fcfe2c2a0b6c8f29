"""The jitted step: gradients of what is trained, added up over micro-batches, one update.

Axes: B rows, T time.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PyTree

from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.grammar import is_eos
from mmcot_jax.train import objective as formulas
from mmcot_jax.train.logps import score, score_rollout
from mmcot_jax.train.objective import LossSums, Objective
from mmcot_jax.types import (
    Backbone,
    Batch,
    Experience,
    Grammar,
    Rollout,
    TrainState,
    Variables,
    merge_microbatches,
    split_microbatches,
)

SCHEDULES = ("constant", "linear", "cosine")
WHAT = ("lora", "all")


def split(variables: Variables, what: str) -> tuple[PyTree, Variables]:
    """Variables -> (what is trained, the rest). "lora": the adapters; "all": the decoder.

    Raises:
        ValueError: another name, or adapters asked for where there are none.
    """
    if what not in WHAT:
        raise ValueError(f"train.what is {what!r}; choose {' or '.join(WHAT)}")
    if what == "all":
        params = dict(variables["params"])
        return params.pop("decoder"), {"params": params}
    if "lora" not in variables:
        raise ValueError("train.what is 'lora' and model.lora.rank is 0; give a rank, or 'all'")
    return variables["lora"], {"params": variables["params"]}


def join(trained: PyTree, frozen: Variables, what: str) -> Variables:
    """The inverse of `split`."""
    if what == "all":
        return {"params": frozen["params"] | {"decoder": trained}}
    return frozen | {"lora": trained}


def schedule(c: Mapping[str, Any], steps: int) -> optax.Schedule:
    """Learning rate by step: warm-up from 0, then `c.lr_scheduler_type` down to 0 (constant stays).

    Raises:
        ValueError: an unknown schedule.
    """
    peak, kind = c["learning_rate"], c["lr_scheduler_type"]
    if kind not in SCHEDULES:
        raise ValueError(f"lr_scheduler_type is {kind!r}; choose {', '.join(SCHEDULES)}")
    warm = int(c["warmup_steps"])
    rest = max(steps - warm, 1)
    after = {
        "constant": optax.constant_schedule(peak),
        "linear": optax.linear_schedule(peak, 0.0, rest),
        "cosine": optax.cosine_decay_schedule(peak, rest),
    }[kind]
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warm), after], [warm])


def optimizer(c: Mapping[str, Any], steps: int) -> optax.GradientTransformation:
    """Global-norm clipping, then AdamW."""
    adamw = optax.adamw(
        schedule(c, steps),
        c["adam_beta1"],
        c["adam_beta2"],
        c["adam_epsilon"],
        weight_decay=c["weight_decay"],
    )
    return optax.chain(optax.clip_by_global_norm(c["max_grad_norm"]), adamw)


def start(trained: PyTree, optimizer: optax.GradientTransformation) -> TrainState:
    """Step 0."""
    return TrainState(jnp.zeros((), jnp.int32), trained, optimizer.init(trained))


class Sums(NamedTuple):
    """What micro-batches add up; divided once, at the end."""

    nll: Float[Array, ""]
    count: Float[Array, ""]
    right: Float[Array, ""]
    image_nll: Float[Array, ""]
    image_count: Float[Array, ""]


def sft_sums(
    backbone: Backbone,
    grammar: Grammar,
    variables: Variables,
    batch: Batch,
    dropout: jax.Array | None,
    chunk: int,
) -> Sums:
    """Negative log-likelihood in nats, and tokens, summed over what `batch.loss` marks."""
    batch = backbone.prepare(variables, batch)
    hidden, _ = backbone(variables, batch, dropout=dropout)
    # hidden t predicts token t + 1; the last one predicts nothing
    targets = jnp.roll(batch.tokens, -1, axis=1)
    mask = jnp.roll(batch.loss & batch.valid, -1, axis=1).at[:, -1].set(False)
    scores = score(backbone, variables, hidden, targets, chunk)
    nll = jnp.where(mask, -scores.logps, 0.0)
    image = mask & grammar.is_image[targets]
    total = partial(jnp.sum, dtype=jnp.float32)
    return Sums(
        total(nll),
        total(mask),
        total(mask & scores.right),
        total(jnp.where(image, nll, 0.0)),
        total(image),
    )


@partial(
    jax.jit,
    static_argnames=(
        "backbone", "optimizer", "what", "micro_batches", "dropout", "chunk", "image_weight"
    ),
    donate_argnames=("state",),
)  # fmt: skip
def sft_step(
    state: TrainState,
    frozen: Variables,
    batch: Batch,
    grammar: Grammar,
    key: jax.Array,
    *,
    backbone: Backbone,
    optimizer: optax.GradientTransformation,
    what: str,
    micro_batches: int,
    dropout: bool,
    chunk: int,
    image_weight: float = 1.0,
) -> tuple[TrainState, dict[str, Array]]:
    """One update from the next-token loss of B rows, taken in `micro_batches` parts.

    An image token counts as `image_weight` tokens of text. Returns the state and scalars: `loss`
    in nats a token, the same of text and image tokens apart, `mean_token_accuracy`, `grad_norm`
    before clipping, `num_tokens`, `learned_tokens`.
    """
    key = jax.random.fold_in(key, state.step)

    def nll(trained, part, key):
        variables = join(trained, frozen, what)
        sums = sft_sums(backbone, grammar, variables, part, key if dropout else None, chunk)
        return weigh(sums.nll, sums.image_nll), sums

    def weigh(total, image):
        return total - (1 - image_weight) * image

    gradient, sums = accumulate(nll, state.trained, batch, key, micro_batches)
    count = weigh(sums.count, sums.image_count)
    gradient = jax.tree.map(lambda g: g / jnp.maximum(count, 1.0), gradient)
    state, norm = update(state, gradient, optimizer)
    text_nll, text_count = sums.nll - sums.image_nll, sums.count - sums.image_count
    return state, {
        "loss": _mean(weigh(sums.nll, sums.image_nll), count),
        "loss_text": _mean(text_nll, text_count),
        "loss_image": _mean(sums.image_nll, sums.image_count),
        "mean_token_accuracy": _mean(sums.right, sums.count),
        "grad_norm": norm,
        "num_tokens": jnp.sum(batch.valid),
        "learned_tokens": sums.count,
    }


def loss_sums(
    backbone: Backbone,
    grammar: Grammar,
    variables: Variables,
    experience: Experience,
    objective: Objective,
    sampling: Sampling,
    chunk: int,
) -> LossSums:
    """The objective's terms, and what is watched beside them, summed over these rows."""
    rollout = experience.rollout
    policy = score_rollout(backbone, variables, grammar, rollout, sampling, chunk)
    image = grammar.is_image[rollout.tokens]
    t = formulas.loss_sums(
        objective,
        policy.logps,
        experience.old_logps,
        experience.ref_logps,
        experience.advantage,
        formulas.token_weights(
            objective, rollout.sampled, image, ended(grammar, rollout), experience.advantage
        ),
    )
    # the trainer, before any update on these rollouts, against the sampler: rounding, or a bug
    trainer = policy.logps if experience.old_logps is None else experience.old_logps
    gap = jnp.where(rollout.sampled, jax.lax.stop_gradient(trainer) - rollout.logps, 0.0)
    total = partial(jnp.sum, where=rollout.sampled, dtype=jnp.float32)
    sums = {
        "choices": total(jnp.ones_like(gap)),
        "image_choices": total(image),
        "entropy": total(policy.entropy),
        "image_entropy": total(policy.entropy * image),
        "gap": total(jnp.abs(gap)),
        "ratio": total(jnp.exp(gap)),
    }
    largest = {
        "gap": jnp.max(jnp.abs(gap)),
        "ratio": jnp.max(jnp.exp(gap), where=rollout.sampled, initial=0.0),
        "inverse_ratio": jnp.max(jnp.exp(-gap), where=rollout.sampled, initial=0.0),
    }
    return t._replace(sums=t.sums | sums, largest=t.largest | largest)


def ended(grammar: Grammar, rollout: Rollout) -> Bool[Array, "B"]:
    """Whether a row ends in EOS; the others were cut by the budget."""
    return jnp.any(rollout.valid & is_eos(grammar, rollout.tokens), axis=1)


@partial(
    jax.jit,
    static_argnames=(
        "backbone", "optimizer", "what", "objective", "sampling", "micro_batches", "chunk"
    ),
    donate_argnames=("state",),
)  # fmt: skip
def grpo_step(
    state: TrainState,
    frozen: Variables,
    experience: Experience,
    grammar: Grammar,
    *,
    backbone: Backbone,
    optimizer: optax.GradientTransformation,
    what: str,
    objective: Objective,
    sampling: Sampling,
    micro_batches: int,
    chunk: int,
) -> tuple[TrainState, dict[str, Array]]:
    """One update from B sampled rows, taken in `micro_batches` parts. No dropout.

    `sampling` is that of the rollouts. Returns the state and scalars by TRL's names: `loss`,
    `grad_norm` before clipping, `entropy` of the tokens that were a choice, in nats, of text and
    image tokens apart too, what `objective.finalize` gives, and how far the sampler's
    log-probabilities are from the trainer's: `sampling/...`, 0 and ratio 1 but for rounding.
    """

    def numerator(trained, part, _):
        variables = join(trained, frozen, what)
        t = loss_sums(backbone, grammar, variables, part, objective, sampling, chunk)
        return t.numerator, t

    gradient, t = accumulate(
        numerator, state.trained, experience, None, micro_batches, formulas.merge
    )
    by = jnp.where(t.denominator > 0, t.denominator, 1.0)
    state, norm = update(state, jax.tree.map(lambda g: g / by, gradient), optimizer)
    loss, metrics = formulas.finalize(objective, t)
    s, choices = t.sums, t.sums["choices"]
    text_entropy, text_choices = s["entropy"] - s["image_entropy"], choices - s["image_choices"]
    return state, metrics | {
        "loss": loss,
        "grad_norm": norm,
        "entropy": _mean(s["entropy"], choices),
        "entropy/text": _mean(text_entropy, text_choices),
        "entropy/image": _mean(s["image_entropy"], s["image_choices"]),
        "sampling/sampling_logp_difference/mean": _mean(s["gap"], choices),
        "sampling/sampling_logp_difference/max": t.largest["gap"],
        "sampling/importance_sampling_ratio/min": 1 / t.largest["inverse_ratio"],
        "sampling/importance_sampling_ratio/mean": _mean(s["ratio"], choices),
        "sampling/importance_sampling_ratio/max": t.largest["ratio"],
    }


@partial(jax.jit, static_argnames=("backbone", "sampling", "micro_batches", "chunk"))
def rollout_logps(
    variables: Variables,
    rollout: Rollout,
    grammar: Grammar,
    *,
    backbone: Backbone,
    sampling: Sampling,
    micro_batches: int,
    chunk: int,
) -> Float[Array, "B T"]:
    """Log-probabilities in nats of what was sampled, for `Experience`, in `micro_batches` parts.

    Of the policy before its updates (`old_logps`), or of the reference: the variables without
    adapters, or a copy of the first.
    """

    def one(part):
        return score_rollout(backbone, variables, grammar, part, sampling, chunk).logps

    if micro_batches == 1:
        return one(rollout)
    return merge_microbatches(jax.lax.map(one, split_microbatches(rollout, micro_batches)))


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(lambda x, y: x + y.astype(jnp.float32), a, b)


def accumulate(
    loss: Callable[..., tuple[Float[Array, ""], Any]],
    trained: PyTree,
    batch: Batch | Experience,
    key: jax.Array | None,
    parts: int,
    merge: Callable[[Any, Any], Any] = _add,
) -> tuple[PyTree, Any]:
    """Sums of gradients (float32) and of what `loss(trained, part, key)` returns beside its sum.

    Row b goes to part b mod `parts`, so that every device has a share of each part. `merge` is
    how two parts' values become one, zeros being those of no part; `key` None is handed on.
    """
    gradient = jax.grad(loss, has_aux=True)
    if parts == 1:
        return gradient(trained, batch, key)
    pieces = split_microbatches(batch, parts)
    shape = jax.eval_shape(gradient, trained, jax.tree.map(lambda x: x[0], pieces), key)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, jnp.float32), shape)

    def add(sums, piece):
        number, part = piece
        own = None if key is None else jax.random.fold_in(key, number)
        new, values = gradient(trained, part, own)
        return (_add(sums[0], new), merge(sums[1], values)), None

    return jax.lax.scan(add, zeros, (jnp.arange(parts), pieces))[0]


def update(
    state: TrainState, gradient: PyTree, optimizer: optax.GradientTransformation
) -> tuple[TrainState, Float[Array, ""]]:
    """The next state, and the gradient's norm before clipping."""
    change, opt = optimizer.update(gradient, state.opt, state.trained)
    trained = optax.apply_updates(state.trained, change)
    return TrainState(state.step + 1, trained, opt), optax.tree.norm(gradient)


def _mean(total: Float[Array, ""], count: Float[Array, ""]) -> Float[Array, ""]:
    return total / jnp.maximum(count, 1.0)
