"""The law tokens are drawn from. The sampler draws from it; the loss takes its log-probabilities.

Axes: B rows, V vocabulary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_NEVER = jnp.finfo(jnp.float32).min


class Sampling(NamedTuple):
    """How to draw; hashable. Defaults draw from the model's own distribution."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: all tokens."""
    greedy: bool = False
    """Take the likeliest token; log-probabilities are still those of the law above."""


def log_law(
    logits: Float[Array, "*B V"], allowed: Bool[Array, "*B V"], s: Sampling
) -> Float[Array, "*B V"]:
    """Log-probabilities in nats, float32; what may not be drawn is float32's minimum.

    Grammar, temperature, top-k, top-p, in that order, then normalised.
    """
    x = jnp.where(allowed, logits.astype(jnp.float32) / s.temperature, _NEVER)
    if s.top_k:
        kth = jax.lax.top_k(x, min(s.top_k, x.shape[-1]))[0][..., -1:]
        x = jnp.where(x >= kth, x, _NEVER)
    if s.top_p < 1:
        ordered = -jnp.sort(-x, axis=-1)
        p = jax.nn.softmax(ordered, axis=-1)
        before = jnp.cumsum(p, axis=-1) - p
        # the least set whose probability reaches top_p; ties with its last member stay
        last = jnp.min(jnp.where(before < s.top_p, ordered, jnp.inf), axis=-1, keepdims=True)
        x = jnp.where(x >= last, x, _NEVER)
    return jnp.where(x > _NEVER, jax.nn.log_softmax(x, axis=-1), _NEVER)
