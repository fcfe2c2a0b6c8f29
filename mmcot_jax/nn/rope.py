"""Rotary position embedding, over one position axis or three (M-RoPE).

Axes: A position axes, B rows, T time, H heads, C head channels.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def angles(
    positions: Int[Array, "A B T"], channels: int, theta: float, sections: tuple[int, ...] = ()
) -> Float[Array, "B T half"]:
    """Returns rotation angles in radians, float32.

    `sections` divides the C/2 frequencies among the position axes, in order; empty: the first axis
    has all. Source: arXiv 2104.09864 eq. 15; M-RoPE: arXiv 2409.12191 section 2.1.
    """
    half = channels // 2
    frequencies = 1.0 / theta ** (jnp.arange(half, dtype=jnp.float32) / half)
    sections = sections or (half,)
    axis = jnp.repeat(jnp.arange(len(sections)), jnp.array(sections), total_repeat_length=half)
    # float32: bfloat16 rounds 257 to 256, and sin(257) is not sin(256)
    chosen = jnp.moveaxis(positions.astype(jnp.float32)[axis], 0, -1)
    return chosen * frequencies


def rotate(x: Float[Array, "B T H C"], angle: Float[Array, "B T half"]) -> jax.Array:
    """Rotates channel pairs (c, c + C/2), the layout of Hugging Face's Llama."""
    cos, sin = jnp.cos(angle)[:, :, None], jnp.sin(angle)[:, :, None]
    left, right = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)
    return turned.astype(x.dtype)
