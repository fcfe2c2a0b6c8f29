"""Layers of a convolutional autoencoder (VQGAN). Axes: N images, H W pixels or cells, C channels.

Convolutions in float32 run in full float32: codes are an argmin, and the reduced precision that an
accelerator uses by default changes it.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmcot_jax.nn.initializers import as_matrix

HIGHEST = jax.lax.Precision.HIGHEST


conv = partial(nn.Conv, precision=HIGHEST, kernel_init=as_matrix(nn.initializers.lecun_normal()))


def downsample(
    x: Float[Array, "N H W C"],
    dtype: DTypeLike,
    name: str | None = None,
    param_dtype: DTypeLike = jnp.float32,
) -> jax.Array:
    """Halves height and width: stride 2, padded by one row below and one column on the right."""
    dtypes = {"dtype": dtype, "param_dtype": param_dtype}
    padding = ((0, 1), (0, 1))
    return conv(x.shape[-1], (3, 3), strides=2, padding=padding, name=name, **dtypes)(x)


def upsample(
    x: Float[Array, "N H W C"],
    dtype: DTypeLike,
    name: str | None = None,
    param_dtype: DTypeLike = jnp.float32,
) -> jax.Array:
    """Doubles height and width, each cell repeated 2 x 2, then a 3 x 3 convolution."""
    x = x.repeat(2, axis=1).repeat(2, axis=2)
    return conv(x.shape[-1], (3, 3), dtype=dtype, param_dtype=param_dtype, name=name)(x)


class GroupNorm(nn.Module):
    """Zero mean and unit variance over an image's pixels and a group's channels, in float32."""

    groups: int = 32
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
        """Returns the same shape and dtype."""
        width = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (width,)).astype(jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (width,)).astype(jnp.float32)
        grouped = rearrange(x.astype(jnp.float32), "n h w (g c) -> n h w g c", g=self.groups)
        mean = grouped.mean((1, 2, 4), keepdims=True)
        centred = grouped - mean
        variance = jnp.square(centred).mean((1, 2, 4), keepdims=True)
        normal = centred * jax.lax.rsqrt(variance + self.epsilon)
        return (rearrange(normal, "n h w g c -> n h w (g c)") * scale + bias).astype(x.dtype)


class ResBlock(nn.Module):
    """x + two rounds of norm, swish, convolution; a 1 x 1 shortcut where the channels change."""

    features: int
    groups: int = 32
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W D"]:
        """Returns the same height and width, `features` channels."""
        y = x
        for i in (1, 2):
            y = nn.swish(GroupNorm(self.groups, name=f"norm{i}")(y))
            y = conv(self.features, (3, 3), dtype=self.dtype, name=f"conv{i}")(y)
        if x.shape[-1] != self.features:
            x = conv(self.features, (1, 1), dtype=self.dtype, name="nin_shortcut")(x)
        return x + y


class AttentionBlock(nn.Module):
    """x + attention of every cell to every cell, one head; the softmax is float32."""

    groups: int = 32
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
        """Returns the same shape."""
        width = x.shape[-1]
        y = GroupNorm(self.groups, name="norm")(x)
        q, k, v = (
            rearrange(conv(width, (1, 1), dtype=self.dtype, name=n)(y), "n h w c -> n (h w) c")
            for n in "qkv"
        )
        scores = jnp.einsum(
            "nqc,nkc->nqk", q, k, precision=HIGHEST, preferred_element_type=jnp.float32
        )
        weights = nn.softmax(scores * width**-0.5).astype(self.dtype)
        y = jnp.einsum("nqk,nkc->nqc", weights, v, precision=HIGHEST)
        return x + conv(width, (1, 1), dtype=self.dtype, name="proj_out")(y.reshape(x.shape))
