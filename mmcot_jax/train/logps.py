"""Log-probabilities of given tokens from hidden states, in chunks: never a float32 [B T V].

Axes: B rows, T time, D width, V vocabulary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmcot_jax.types import Backbone, Variables


class Scores(NamedTuple):
    """Of each position: how likely the token after it was, and whether it was the likeliest."""

    logps: Float[Array, "B T"]
    """Nats, under the softmax over the whole vocabulary."""
    right: Bool[Array, "B T"]


def score(
    backbone: Backbone,
    variables: Variables,
    hidden: Float[Array, "B T D"],
    targets: Int[Array, "B T"],
    chunk: int,
) -> Scores:
    """Scores `targets`, each the token after its hidden state; `chunk` positions at a time.

    The backward pass computes a chunk's logits anew.
    """

    @jax.checkpoint
    def one(hidden, targets):
        logits = backbone.unembed(variables, hidden)
        picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        top = jnp.max(logits, axis=-1)
        return Scores(picked - jax.nn.logsumexp(logits, axis=-1), picked >= top)

    b, t, _ = hidden.shape
    if t <= chunk:
        return one(hidden, targets)
    pieces = -(-t // chunk)
    short = pieces * chunk - t

    def cut(x):
        x = jnp.pad(x, [(0, 0), (0, short), *[(0, 0)] * (x.ndim - 2)])
        return jnp.moveaxis(x.reshape(b, pieces, chunk, *x.shape[2:]), 1, 0)

    scores = jax.lax.map(lambda piece: one(*piece), (cut(hidden), cut(targets)))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(b, -1)[:, :t], scores)
