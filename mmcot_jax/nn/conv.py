"""Layers of a convolutional autoencoder (VQGAN). Axes: N pictures, H W pixels or cells, C channels.

Convolutions in float32 run in full float32: codes are an argmin, and the shortened passes that an
accelerator takes by default move it.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

HIGHEST = jax.lax.Precision.HIGHEST


class Conv(nn.Module):
    """A square convolution, zero padded to keep the size; `kernel` is [H W in out]."""

    features: int
    size: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W D"]:
        """Same height and width, `features` channels."""
        return _conv(self, x, stride=1, padding=((self.size // 2,) * 2,) * 2)


class Downsample(nn.Module):
    """Halves the sides: stride 2, padded by one row below and one column on the right."""

    size: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N h w C"]:
        """Half the height and width, the same channels."""
        return _conv(self, x, stride=2, padding=((0, 1), (0, 1)), features=x.shape[-1])


class Upsample(nn.Module):
    """Doubles the sides, each cell repeated 2 x 2, then a 3 x 3 convolution."""

    size: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "N h w C"]) -> Float[Array, "N H W C"]:
        """Twice the height and width, the same channels."""
        x = x.repeat(2, axis=1).repeat(2, axis=2)
        return _conv(self, x, stride=1, padding=((1, 1), (1, 1)), features=x.shape[-1])


def _conv(
    m: nn.Module, x: jax.Array, *, stride: int, padding: tuple, features: int | None = None
) -> jax.Array:
    out = features or m.features
    shape = (m.size, m.size, x.shape[-1], out)
    kernel = m.param("kernel", nn.initializers.lecun_normal(), shape).astype(m.dtype)
    bias = m.param("bias", nn.initializers.zeros, (out,)).astype(m.dtype)
    numbers = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
        x.astype(m.dtype), kernel, (stride, stride), padding,
        dimension_numbers=numbers, precision=HIGHEST,
    )  # fmt: skip
    return y + bias


class GroupNorm(nn.Module):
    """Zero mean and unit variance over a picture's pixels and a group's channels, in float32."""

    groups: int = 32
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
        """The same shape and dtype."""
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
        """Same height and width, `features` channels."""
        y = x
        for i in (1, 2):
            y = nn.swish(GroupNorm(self.groups, name=f"norm{i}")(y))
            y = Conv(self.features, dtype=self.dtype, name=f"conv{i}")(y)
        if x.shape[-1] != self.features:
            x = Conv(self.features, size=1, dtype=self.dtype, name="nin_shortcut")(x)
        return x + y


class AttentionBlock(nn.Module):
    """x + attention of every cell to every cell, one head; the softmax is float32."""

    groups: int = 32
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
        """The same shape."""
        width = x.shape[-1]
        y = GroupNorm(self.groups, name="norm")(x)
        q, k, v = (
            rearrange(Conv(width, size=1, dtype=self.dtype, name=n)(y), "n h w c -> n (h w) c")
            for n in "qkv"
        )
        scores = jnp.einsum(
            "nqc,nkc->nqk", q, k, precision=HIGHEST, preferred_element_type=jnp.float32
        )
        weights = nn.softmax(scores * width**-0.5).astype(self.dtype)
        y = jnp.einsum("nqk,nkc->nqc", weights, v, precision=HIGHEST)
        return x + Conv(width, size=1, dtype=self.dtype, name="proj_out")(y.reshape(x.shape))
