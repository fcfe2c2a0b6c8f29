"""The jitted step: gradients of what is trained, added up over micro-batches, one update.

Axes: B rows, T time.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from mmcot_jax.train.logps import score
from mmcot_jax.types import Backbone, Batch, Grammar, TrainState, Variables, row_axes

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
    static_argnames=("backbone", "optimizer", "what", "micro_batches", "dropout", "chunk"),
    donate_argnames=("state",),
)
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
) -> tuple[TrainState, dict[str, Array]]:
    """One update from the next-token loss of B rows, taken in `micro_batches` parts.

    Returns the state and scalars: `loss` in nats a token, the same of text and image tokens
    apart, `mean_token_accuracy`, `grad_norm` before clipping, `num_tokens`, `learned_tokens`.
    """
    key = jax.random.fold_in(key, state.step)

    def nll(trained, part, key):
        variables = join(trained, frozen, what)
        sums = sft_sums(backbone, grammar, variables, part, key if dropout else None, chunk)
        return sums.nll, sums

    gradient, sums = accumulate(nll, state.trained, batch, key, micro_batches)
    gradient = jax.tree.map(lambda g: g / jnp.maximum(sums.count, 1.0), gradient)
    state, norm = update(state, gradient, optimizer)
    text_nll, text_count = sums.nll - sums.image_nll, sums.count - sums.image_count
    return state, {
        "loss": _mean(sums.nll, sums.count),
        "loss_text": _mean(text_nll, text_count),
        "loss_image": _mean(sums.image_nll, sums.image_count),
        "mean_token_accuracy": _mean(sums.right, sums.count),
        "grad_norm": norm,
        "num_tokens": jnp.sum(batch.valid),
        "learned_tokens": sums.count,
    }


def accumulate(
    loss: Callable[..., tuple[Float[Array, ""], Any]],
    trained: PyTree,
    batch: Batch,
    key: jax.Array,
    parts: int,
) -> tuple[PyTree, Any]:
    """Sums of gradients (float32) and of what `loss(trained, part, key)` returns beside its sum.

    Row b goes to part b mod `parts`, so that every device has a share of each part.
    """
    gradient = jax.grad(loss, has_aux=True)
    if parts == 1:
        return gradient(trained, batch, key)

    def cut(x: Array, axis: int) -> Array:
        x = jnp.moveaxis(x, axis, 0)
        x = jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0)
        return jnp.moveaxis(x, 1, axis + 1)

    pieces = jax.tree.map(cut, batch, row_axes(batch))
    shape = jax.eval_shape(gradient, trained, jax.tree.map(lambda x: x[0], pieces), key)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, jnp.float32), shape)

    def add(sums, piece):
        number, part = piece
        new = gradient(trained, part, jax.random.fold_in(key, number))
        return jax.tree.map(lambda a, b: a + b.astype(jnp.float32), sums, new), None

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
