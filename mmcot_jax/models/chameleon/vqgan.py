"""Chameleon's image tokenizer: pixels -> codes -> pixels.

Axes: N images, H W pixels, h w cells, K = h*w codes in raster order, E channels of a code, Z
channels of a cell.
Source: arXiv 2012.09841 (VQGAN), arXiv 2405.09818 (Chameleon); codes are the nearest by squared L2.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, UInt8

from mmcot_jax.errors import check_choice
from mmcot_jax.models.chameleon.config import VQGANConfig
from mmcot_jax.models.chameleon.preprocess import VARIANTS
from mmcot_jax.nn.codebook import nearest
from mmcot_jax.nn.conv import AttentionBlock, GroupNorm, ResBlock, conv, downsample, upsample


class VQGAN(nn.Module):
    """Encoder, codebook and decoder. Convolutions are in `dtype`, sums in float32."""

    config: VQGANConfig
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Makes the four convolutional parts and the codebook."""
        c = self.config.check()
        self.encoder = Encoder(c, self.dtype)
        self.quant_conv = conv(c.embed_dim, (1, 1), dtype=self.dtype)
        self.codebook = self.param("codebook", _codebook, (c.codes, c.embed_dim))
        self.post_quant_conv = conv(c.z_channels, (1, 1), dtype=self.dtype)
        self.decoder = Decoder(c, self.dtype)

    def __call__(self, pixels: Float[Array, "N H W 3"]) -> Float[Array, "N H W 3"]:
        """Encodes and decodes; uses every weight, so `init` calls it."""
        return self.decode(self.encode(pixels))

    def latents(self, pixels: Float[Array, "N H W 3"]) -> Float[Array, "N h w E"]:
        """Pixels in [-1, 1] -> float32 vectors, whose nearest codes `encode` returns."""
        return self.quant_conv(self.encoder(pixels)).astype(jnp.float32)

    def encode(self, pixels: Float[Array, "N H W 3"]) -> Int[Array, "N K"]:
        """Pixels in [-1, 1] -> int32 codes in raster order."""
        z = self.latents(pixels)
        return nearest(z.reshape(z.shape[0], -1, z.shape[-1]), self.codebook)

    def embed(self, codes: Int[Array, "N K"]) -> Float[Array, "N h w E"]:
        """Codes -> their vectors, as a grid of cells."""
        grid = self.config.grid
        return self.codebook[codes].reshape(codes.shape[0], grid, grid, -1)

    def decode(self, codes: Int[Array, "N K"]) -> Float[Array, "N H W 3"]:
        """Codes -> float32 pixels, about [-1, 1]."""
        return self.decode_latents(self.embed(codes))

    def decode_latents(self, z: Float[Array, "N h w E"]) -> Float[Array, "N H W 3"]:
        """Vectors in cells -> float32 pixels, about [-1, 1]."""
        return self.decoder(self.post_quant_conv(z)).astype(jnp.float32)


def _codebook(key: jax.Array, shape: tuple[int, int]) -> Float[Array, "codes E"]:
    return jax.random.uniform(key, shape, minval=-1 / shape[0], maxval=1 / shape[0])


class Encoder(nn.Module):
    """Pixels -> cells: residual blocks, halving between levels, attention in the middle."""

    config: VQGANConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "N H W 3"]) -> Float[Array, "N h w Z"]:
        """Pixels in [-1, 1] -> cells, before `quant_conv`."""
        c, dtype = self.config, self.dtype
        x = conv(c.ch, (3, 3), dtype=dtype, name="conv_in")(x)
        for level, width in enumerate(c.widths):
            for block in range(c.num_res_blocks):
                x = ResBlock(width, c.groups, dtype, name=f"down_{level}_block_{block}")(x)
            if level < len(c.widths) - 1:
                x = downsample(x, dtype, name=f"down_{level}_downsample")
        x = _middle(c, dtype, x)
        x = nn.swish(GroupNorm(c.groups, name="norm_out")(x))
        return conv(c.z_channels, (3, 3), dtype=dtype, name="conv_out")(x)


class Decoder(nn.Module):
    """Cells -> pixels: attention in the middle, residual blocks, doubling between levels."""

    config: VQGANConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(self, z: Float[Array, "N h w Z"]) -> Float[Array, "N H W 3"]:
        """Cells, after `post_quant_conv` -> pixels, about [-1, 1]."""
        c, dtype = self.config, self.dtype
        x = conv(c.widths[-1], (3, 3), dtype=dtype, name="conv_in")(z)
        x = _middle(c, dtype, x)
        for level in reversed(range(len(c.widths))):
            for block in range(c.num_res_blocks + 1):
                x = ResBlock(c.widths[level], c.groups, dtype, name=f"up_{level}_block_{block}")(x)
            if level:
                x = upsample(x, dtype, name=f"up_{level}_upsample")
        x = nn.swish(GroupNorm(c.groups, name="norm_out")(x))
        return conv(3, (3, 3), dtype=dtype, name="conv_out")(x)


def _middle(c: VQGANConfig, dtype: DTypeLike, x: Float[Array, "N h w C"]) -> jax.Array:
    """Applies block, attention, block, as children of the compact module that calls it."""
    x = ResBlock(c.widths[-1], c.groups, dtype, name="mid_block_1")(x)
    x = AttentionBlock(c.groups, dtype, name="mid_attn_1")(x)
    return ResBlock(c.widths[-1], c.groups, dtype, name="mid_block_2")(x)


def from_pixels(pixels: UInt8[Array, "N H W 3"], *, scale: str = "native") -> jax.Array:
    """Pixels 0..255 -> float32 [-1, 1].

    `scale` is "native" (x / 255 * 2 - 1) or "hf" (x * 0.0078 - 1: white is 0.989).

    Raises:
        ValueError: another scale.
    """
    check_choice("pixel scale", scale, VARIANTS)
    x = pixels.astype(jnp.float32)
    return x / 255 * 2 - 1 if scale == "native" else x * 0.0078 - 1


def to_pixels(x: Float[Array, "N H W 3"]) -> UInt8[Array, "N H W 3"]:
    """Floats -> pixels 0..255: clamped to [-1, 1], truncated."""
    return ((jnp.clip(x, -1, 1) + 1) / 2 * 255).astype(jnp.uint8)
