"""Attention over keys and values that are already there.

Axes: B rows, T queries, S keys, H heads, K kv heads, C head channels.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def attend(
    q: Float[Array, "B T H C"],
    k: Float[Array, "B S K C"],
    v: Float[Array, "B S K C"],
    mask: Bool[Array, "B T S"],
) -> Float[Array, "B T H C"]:
    """Softmax attention with grouped heads, scores and softmax in float32.

    A query whose mask is False everywhere (padding) attends evenly; nothing is NaN.
    """
    b, t, h, c = q.shape
    groups = h // k.shape[2]
    q = q.reshape(b, t, k.shape[2], groups, c) * (c**-0.5)
    scores = jnp.einsum("btkgc,bskc->bkgts", q, k, preferred_element_type=jnp.float32)
    scores = jnp.where(mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("bkgts,bskc->btkgc", weights, v).reshape(b, t, h, c)


def causal(
    valid: Bool[Array, "B S"], start: jax.Array | int, queries: int
) -> Bool[Array, "B T S"]:
    """Which slots each of `queries` queries sees, the first of them standing in slot `start`.

    valid [0 1 1 1], start 0 -> rows [0 0 0 0] [0 1 0 0] [0 1 1 0] [0 1 1 1]
    """
    slots = jnp.arange(valid.shape[1])
    own = start + jnp.arange(queries)
    return valid[:, None, :] & (slots[None, None, :] <= own[None, :, None])
