"""The distribution that tokens are sampled from; the loss uses its log-probabilities.

Axes: B rows, T time, V vocabulary.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmcot_jax import options

_NEVER = jnp.finfo(jnp.float32).min


class Sampling(NamedTuple):
    """Sampling parameters; hashable. By default the model's own distribution."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: all tokens."""
    min_p: float = 0.0
    """Least probability kept, as a share of the likeliest token's; 0: all tokens."""
    greedy: bool = False
    """Take the likeliest token; log-probabilities are still those of the distribution above."""
    repetition_penalty: float = 1.0
    """Above 1: text tokens of the prompt and the reply so far become less likely."""
    image_temperature: float | None = None
    """That of a picture's tokens; None: `temperature`."""


def sampling(c: Mapping[str, Any], group: str) -> Sampling:
    """Returns the sampling parameters of a `group` of a config.

    Raises:
        ValueError: a number out of range.
    """
    given = {name: c[name] for name in Sampling._fields if name in c}
    options.check_group(group, given)
    return Sampling(**given | {name: given.get(name) or 0 for name in ("top_k", "min_p")})


def check_pictures(c: Mapping[str, Any], group: str, image_len: int) -> None:
    """Checks that a model whose pictures have a temperature draws some, of `image_len` tokens.

    Raises:
        ValueError: it writes text only.
    """
    if c.get("image_temperature") is not None and not image_len:
        raise ValueError(
            f"{group}.image_temperature is {c['image_temperature']}, and this model writes text "
            "only; set it to None"
        )


def penalize(
    logits: Float[Array, "*B V"],
    seen: Bool[Array, "*B V"] | None,
    s: Sampling,
    state: Int[Array, "*B"] | None = None,
) -> Float[Array, "*B V"]:
    """Divides positive logits of `seen` tokens by the penalty, multiplies negative ones; float32.

    `seen` is None where the penalty is 1; `state` is the grammar's, None in text. Tokens of a
    picture are left alone, as in Chameleon's sampler. Source: arXiv 1909.05858 section 4.1, with
    the sign rule of transformers' RepetitionPenaltyLogitsProcessor.
    """
    if seen is None:
        return logits
    if state is not None:
        seen = seen & (state == 0)[..., None]
    x, penalty = logits.astype(jnp.float32), s.repetition_penalty
    return jnp.where(seen, jnp.where(x > 0, x / penalty, x * penalty), x)


def first_occurrence(
    tokens: Int[Array, "B T"], valid: Bool[Array, "B T"], vocabulary: int
) -> Int[Array, "B V"]:
    """Returns where each token first occurs in a row; T where it does not.

    With five tokens, [- 3 1 3] -> [4 2 4 1 4]. Tokens seen before place t have a value below t.
    """
    b, t = tokens.shape
    places = jnp.where(valid, jnp.arange(t), t)
    return jnp.full((b, vocabulary), t).at[jnp.arange(b)[:, None], tokens].min(places)


def temper(
    logits: Float[Array, "*B V"], s: Sampling, state: Int[Array, "*B"] | None = None
) -> Float[Array, "*B V"]:
    """Divides logits by the temperature, of pictures where the grammar's state is not 0; float32.

    `state` is None in text.
    """
    heat = s.temperature
    if state is not None and s.image_temperature is not None:
        heat = jnp.where(state == 0, heat, s.image_temperature)[..., None]
    return logits.astype(jnp.float32) / heat


def token_log_probs(
    logits: Float[Array, "*B V"],
    allowed: Bool[Array, "*B V"],
    s: Sampling,
    state: Int[Array, "*B"] | None = None,
) -> Float[Array, "*B V"]:
    """Returns log-probabilities in nats, float32; excluded tokens have float32's minimum.

    Applies grammar, temperature, top-k, top-p and min-p, in that order, then normalises. `state` is
    the grammar's, None in text.
    """
    x = jnp.where(allowed, temper(logits, s, state), _NEVER)
    if s.top_k:
        kth = jax.lax.top_k(x, min(s.top_k, x.shape[-1]))[0][..., -1:]
        x = jnp.where(x >= kth, x, _NEVER)
    if s.top_p < 1:
        x = jnp.where(_nucleus(jax.lax.stop_gradient(x), s.top_p), x, _NEVER)
    if s.min_p:
        least = jnp.max(x, axis=-1, keepdims=True) + math.log(s.min_p)
        x = jnp.where(x >= least, x, _NEVER)
    return jnp.where(x > _NEVER, jax.nn.log_softmax(x, axis=-1), _NEVER)


def _nucleus(x: Float[Array, "*B V"], top_p: float) -> Bool[Array, "*B V"]:
    """Returns the smallest set whose probability reaches `top_p`; ties with its last member stay.

    A token is in it if those likelier than it have less than `top_p` together. The least such
    value is found by halving the range of values 32 times: a tenth of the time of sorting them.
    """
    p, order = jax.nn.softmax(x, axis=-1), _order(x)

    def halve(_, bounds):
        low, high = bounds
        middle = (low & high) + ((low ^ high) >> 1)  # low + high may overflow
        likelier = jnp.sum(jnp.where(order > middle, p, 0), axis=-1, keepdims=True)
        inside = likelier < top_p
        return jnp.where(inside, low, middle + 1), jnp.where(inside, middle, high)

    low, high = (f(order, axis=-1, keepdims=True) for f in (jnp.min, jnp.max))
    return order >= jax.lax.fori_loop(0, 32, halve, (low, high))[1]


def _order(x: Float[Array, "*B"]) -> Int[Array, "*B"]:
    """Returns int32s that compare as the float32s `x`."""
    bits = jax.lax.bitcast_convert_type(jnp.where(x == 0, 0.0, x), jnp.int32)  # -0.0 equals 0.0
    # negative floats grow with their magnitude's bits
    return jnp.where(bits < 0, bits ^ jnp.iinfo(jnp.int32).max, bits)
