"""Decides which tokens may follow: the grammar is data, its state one int per row.

Axes: B rows, V vocabulary.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from mmcot_jax.types import Grammar


def allowed(g: Grammar, state: Int[Array, "*B"], room: Int[Array, "*B"]) -> Bool[Array, "*B V"]:
    """Returns the legal next tokens.

    In text (state 0): text tokens, EOS, and BOI while a whole image fits in `room`, the tokens
    left in the budget, this one included. In an image: its codes (state > 1), then EOI (state 1).
    """
    vocabulary = jnp.arange(g.is_image.shape[0])
    opens = (vocabulary == g.boi) & (g.image_len > 0)
    fits = (room >= g.image_len + 2)[..., None]
    text = g.is_text | is_eos(g, vocabulary) | (opens & fits)
    state = state[..., None]
    return jnp.where(state == 0, text, jnp.where(state == 1, vocabulary == g.eoi, g.is_image))


def step(g: Grammar, state: Int[Array, "*B"], token: Int[Array, "*B"]) -> Int[Array, "*B"]:
    """Returns the state after `token`.

    Image of two codes: t BOI c c EOI t -> 0 0 3 2 1 0 (before each).
    """
    opened = (token == g.boi) & (g.image_len > 0)
    return jnp.where(state > 0, state - 1, jnp.where(opened, g.image_len + 1, 0))


def is_eos(g: Grammar, token: Int[Array, "*B"]) -> Bool[Array, "*B"]:
    """Returns whether a token ends the text."""
    return jnp.isin(token, jnp.asarray(g.eos, jnp.int32))
