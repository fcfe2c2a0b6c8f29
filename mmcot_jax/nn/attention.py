"""Attention over keys and values that are already there.

Axes: B rows, T queries, S keys, H heads, K kv heads, C head channels.
"""

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float


def attend(
    q: Float[Array, "B T H C"],
    k: Float[Array, "B K S C"],
    v: Float[Array, "B K S C"],
    mask: Bool[Array, "B T S"],
) -> Float[Array, "B T H C"]:
    """Softmax attention with grouped heads, scores and softmax in float32.

    Keys come heads first, as the cache holds them: a step of decoding then moves none of them.
    A query whose mask is False everywhere (padding) attends evenly; nothing is NaN.
    """
    # heads before time, so that both products are plain batched matrix products
    q = rearrange(q * q.shape[-1] ** -0.5, "b t (k g) c -> b k g t c", k=k.shape[1])
    scores = jnp.einsum("bkgtc,bksc->bkgts", q, k, preferred_element_type=jnp.float32)
    scores = jnp.where(mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
    top = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    weights = jnp.exp(scores - top)
    # dividing the C outputs instead of the S weights saves a pass over [B H T S]
    y = jnp.einsum("bkgts,bksc->bkgtc", weights.astype(v.dtype), v)
    y = y / jnp.sum(weights, axis=-1, keepdims=True).astype(v.dtype)
    return rearrange(y, "b k g t c -> b t (k g) c")


def causal(valid: Bool[Array, "B S"], start: jax.Array | int, queries: int) -> Bool[Array, "B T S"]:
    """Which slots each of `queries` queries sees, the first of them standing in slot `start`.

    valid [0 1 1 1], start 0 -> rows [0 0 0 0] [0 1 0 0] [0 1 1 0] [0 1 1 1]
    """
    slots = jnp.arange(valid.shape[1])
    own = start + jnp.arange(queries)
    return valid[:, None, :] & (slots[None, None, :] <= own[None, :, None])
