"""The autoencoder between latents and pixels. Modules have the names of diffusers' weights.

Axes: N pictures, H W pixels, h w cells, C channels.
Source: arXiv 2112.10752.
"""

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from mmcot_jax.models.unclip.config import VaeConfig
from mmcot_jax.models.unclip.unet import attend
from mmcot_jax.nn.conv import GroupNorm, conv, downsample, upsample


class Vae(nn.Module):
    """Encoder and decoder, with a 1 x 1 convolution on the latents' side of each."""

    c: VaeConfig

    def setup(self) -> None:
        """Makes the four parts."""
        c = self.c
        self.encoder = Encoder(c)
        self.quant_conv = _conv(c, 2 * c.channels, None, 1)
        self.post_quant_conv = _conv(c, c.channels, None, 1)
        self.decoder = Decoder(c)

    def __call__(self, pixels: Float[Array, "N H W 3"]) -> Float[Array, "N H W 3"]:
        """Encodes and decodes; uses every weight, so `init` calls it."""
        return self.decode(self.encode(pixels)[0])

    def encode(
        self, pixels: Float[Array, "N H W 3"]
    ) -> tuple[Float[Array, "N h w C"], Float[Array, "N h w C"]]:
        """Pixels in [-1, 1] -> means and log-variances of the cells, float32, not scaled."""
        moments = self.quant_conv(self.encoder(pixels.astype(self.c.dtype)))
        mean, log_variance = jnp.split(moments.astype(jnp.float32), 2, axis=-1)
        return mean, jnp.clip(log_variance, -30.0, 20.0)

    def decode(self, cells: Float[Array, "N h w C"]) -> Float[Array, "N H W 3"]:
        """Cells, not scaled -> float32 pixels, about [-1, 1]."""
        y = self.decoder(self.post_quant_conv(cells.astype(self.c.dtype)))
        return y.astype(jnp.float32)


def _conv(c: VaeConfig, features: int, name: str | None, size: int = 3) -> nn.Module:
    return conv(features, (size, size), dtype=c.dtype, param_dtype=c.param_dtype, name=name)


class Encoder(nn.Module):
    """Pixels -> cells: residual blocks, halving between levels, attention in the middle."""

    c: VaeConfig

    @nn.compact
    def __call__(self, x: Float[Array, "N H W 3"]) -> Float[Array, "N h w M"]:
        """Returns means and log-variances, before `quant_conv`."""
        c = self.c
        x = _conv(c, c.widths[0], "conv_in")(x)
        for level, width in enumerate(c.widths):
            last = level == len(c.widths) - 1
            x = Level(c, width, c.blocks, "" if last else "down", name=f"down_blocks_{level}")(x)
        x = Middle(c, name="mid_block")(x)
        x = nn.silu(GroupNorm(c.groups, 1e-6, name="conv_norm_out")(x))
        return _conv(c, 2 * c.channels, "conv_out")(x)


class Decoder(nn.Module):
    """Cells -> pixels: attention in the middle, residual blocks, doubling between levels."""

    c: VaeConfig

    @nn.compact
    def __call__(self, x: Float[Array, "N h w C"]) -> Float[Array, "N H W 3"]:
        """Cells, after `post_quant_conv` -> pixels, about [-1, 1]."""
        c = self.c
        x = _conv(c, c.widths[-1], "conv_in")(x)
        x = Middle(c, name="mid_block")(x)
        for number, width in enumerate(reversed(c.widths)):
            last = number == len(c.widths) - 1
            x = Level(c, width, c.blocks + 1, "" if last else "up", name=f"up_blocks_{number}")(x)
        x = nn.silu(GroupNorm(c.groups, 1e-6, name="conv_norm_out")(x))
        return _conv(c, 3, "conv_out")(x)


class Level(nn.Module):
    """Residual blocks of one size, and a resampling: "up", "down", or none."""

    c: VaeConfig
    width: int
    blocks: int
    resample: str

    @nn.compact
    def __call__(self, x: Float[Array, "N h w C"]) -> Float[Array, "N H W D"]:
        """Returns `width` channels."""
        for i in range(self.blocks):
            x = Residual(self.c, self.width, name=f"resnets_{i}")(x)
        if self.resample:
            return Resample(self.c, self.resample, name=f"{self.resample}samplers_0")(x)
        return x


class Resample(nn.Module):
    """Doubles or halves height and width."""

    c: VaeConfig
    direction: str

    @nn.compact
    def __call__(self, x: Float[Array, "N h w C"]) -> Float[Array, "N H W C"]:
        """Returns the same channels."""
        change = upsample if self.direction == "up" else downsample
        return change(x, self.c.dtype, "conv", self.c.param_dtype)


class Middle(nn.Module):
    """A residual block, attention of every cell to every cell with one head, a residual block."""

    c: VaeConfig

    @nn.compact
    def __call__(self, x: Float[Array, "N h w C"]) -> Float[Array, "N h w C"]:
        """Returns the same shape."""
        width = self.c.widths[-1]
        x = Residual(self.c, width, name="resnets_0")(x)
        x = Attention(self.c, name="attentions_0")(x)
        return Residual(self.c, width, name="resnets_1")(x)


class Residual(nn.Module):
    """x + two rounds of norm, swish, convolution; a 1 x 1 shortcut where the channels change."""

    c: VaeConfig
    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "N h w C"]) -> Float[Array, "N h w D"]:
        """Returns `width` channels."""
        c, y = self.c, x
        for i in (1, 2):
            y = nn.silu(GroupNorm(c.groups, 1e-6, name=f"norm{i}")(y))
            y = _conv(c, self.width, f"conv{i}")(y)
        if x.shape[-1] != self.width:
            x = _conv(c, self.width, "conv_shortcut", 1)(x)
        return x + y


class Attention(nn.Module):
    """x + attention of every cell to every cell; the softmax is float32."""

    c: VaeConfig

    @nn.compact
    def __call__(self, x: Float[Array, "N h w C"]) -> Float[Array, "N h w C"]:
        """Returns the same shape."""
        c, width = self.c, x.shape[-1]

        def dense(name):
            return nn.Dense(width, dtype=c.dtype, param_dtype=c.param_dtype, name=name)

        y = GroupNorm(c.groups, 1e-6, name="group_norm")(x)
        y = rearrange(y, "n h w c -> n 1 (h w) c")
        y = attend(*(dense(f"to_{name}")(y) for name in "qkv"))
        return x + dense("to_out_0")(y).reshape(x.shape)
