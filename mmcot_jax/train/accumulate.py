"""Gradients of a batch in micro-batches, one after another.

Axes: B rows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from mmcot_jax.types import Batch, Experience, split_microbatches


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(lambda x, y: x + y.astype(jnp.float32), a, b)


class Skip(NamedTuple):
    """Says which micro-batches have no gradient, and what they add to the auxiliary values."""

    test: Callable[[Any], Bool[Array, ""]]
    """A micro-batch -> True if its gradient is 0."""
    values: Callable[[Any, Any], Any]
    """(skipped micro-batch, zero auxiliary values) -> its auxiliary values."""


def accumulate(
    loss: Callable[..., tuple[Float[Array, ""], Any]],
    trained: PyTree,
    batch: Batch | Experience,
    key: jax.Array | None,
    parts: int,
    merge: Callable[[Any, Any], Any] = _add,
    skip: Skip | None = None,
) -> tuple[PyTree, Any]:
    """Sums gradients (float32) and auxiliary values over `parts` micro-batches.

    `loss(trained, part, key)` returns (sum, auxiliary values). Row b goes to part b mod `parts`,
    so that every device has rows of each part. `merge` combines the auxiliary values of two parts;
    zeros stand for no part. A `key` is folded with the part's number; None stays None. Parts that
    `skip` finds are not computed, except for the first.
    """
    gradient = jax.grad(loss, has_aux=True)
    if parts == 1:
        return gradient(trained, batch, key)
    pieces = split_microbatches(batch, parts)
    shape = jax.eval_shape(gradient, trained, jax.tree.map(lambda x: x[0], pieces), key)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, jnp.float32), shape)

    def compute(number, part):
        own = None if key is None else jax.random.fold_in(key, number)
        return gradient(trained, part, own)

    def leave_out(_, part):
        none = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)
        return none[0], skip.values(part, none[1])

    def add(sums, piece):
        number, part = piece
        if skip is None:
            new, values = compute(number, part)
        else:
            skipped = skip.test(part) & (number > 0)
            new, values = jax.lax.cond(skipped, leave_out, compute, number, part)
        return (_add(sums[0], new), merge(sums[1], values)), None

    return jax.lax.scan(add, zeros, (jnp.arange(parts), pieces))[0]
