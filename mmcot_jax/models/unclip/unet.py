"""The network that removes noise from latents, given a prompt and an embedding.

Axes: N pictures, h w cells, C channels, T tokens of the prompt, E channels of a label.
Source: arXiv 2112.10752. Modules have the names of diffusers' weights, `_0` for `.0`.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Int

from mmcot_jax.models.unclip.config import UNetConfig
from mmcot_jax.nn.conv import GroupNorm, conv, upsample

_PART = 1024
"""Queries whose scores exist at once."""


def sinusoidal(x: Int[Array, "N"], width: int) -> Float[Array, "N width"]:
    """Cosines, then sines, of x times frequencies from 1 to 1 / 10,000; an odd width ends in 0."""
    half = width // 2
    angles = x[:, None].astype(jnp.float32) * jnp.exp(-jnp.log(1e4) * jnp.arange(half) / half)
    waves = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=1)
    return jnp.pad(waves, ((0, 0), (0, width % 2)))


class UNet(nn.Module):
    """Levels down, the middle, levels up, with skips between levels of one size."""

    c: UNetConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "N h w C"],
        timestep: Int[Array, "N"],
        prompt: Float[Array, "N T P"],
        label: Float[Array, "N E"],
    ) -> Float[Array, "N h w C"]:
        """Noisy latents, and the step of training that they are as noisy as -> float32."""
        c, levels = self.c, range(len(self.c.widths))
        x, prompt, label = (y.astype(c.dtype) for y in (x, prompt, label))
        time = sinusoidal(timestep, c.widths[0]).astype(c.dtype)
        condition = Embedding(c, name="time_embedding")(time)
        condition = nn.silu(condition + Embedding(c, name="class_embedding")(label))

        x = _conv(c, c.widths[0], "conv_in")(x)
        skips = [x]
        for level in levels:
            last = level == len(levels) - 1
            block = Level(c, level, down=True, resample=not last, name=f"down_blocks_{level}")
            x, more = block(x, condition, prompt, [])
            skips += more
        width, heads = c.widths[-1], c.heads[-1]
        middle = Middle(c, width, heads, name="mid_block")
        x = middle(x, condition, prompt)
        for number, level in enumerate(reversed(levels)):
            given, skips = skips[-c.blocks - 1 :], skips[: -c.blocks - 1]
            last = level == 0
            block = Level(c, level, down=False, resample=not last, name=f"up_blocks_{number}")
            x, _ = block(x, condition, prompt, given)
        x = nn.silu(GroupNorm(c.groups, 1e-5, name="conv_norm_out")(x))
        return _conv(c, c.channels, "conv_out")(x).astype(jnp.float32)


def _conv(c: UNetConfig, features: int, name: str, size: int = 3, **more) -> nn.Module:
    given = {"dtype": c.dtype, "param_dtype": c.param_dtype, "name": name} | more
    return conv(features, (size, size), **given)


def _dense(c: UNetConfig, features: int, name: str, bias: bool = True) -> nn.Module:
    return nn.Dense(features, bias, c.dtype, c.param_dtype, name=name)


class Embedding(nn.Module):
    """Two linear layers to four times the first level's width."""

    c: UNetConfig

    @nn.compact
    def __call__(self, x: Float[Array, "N E"]) -> Float[Array, "N D"]:
        """[N E] -> [N D]."""
        dense = partial(_dense, self.c, 4 * self.c.widths[0])
        return dense("linear_2")(nn.silu(dense("linear_1")(x)))


class Level(nn.Module):
    """Residual blocks of a level, each followed by attention if it has any, and a resampling."""

    c: UNetConfig
    level: int
    down: bool
    resample: bool

    @nn.compact
    def __call__(self, x, condition, prompt, skips):
        """Returns the result, and what each part has made; `skips` are used from the last on."""
        c, width, made = self.c, self.c.widths[self.level], []
        skips = list(skips)
        for i in range(c.blocks if self.down else c.blocks + 1):
            if not self.down:
                x = jnp.concatenate([x, skips.pop()], axis=-1)
            x = Residual(c, width, name=f"resnets_{i}")(x, condition)
            if c.attention[self.level]:
                heads = c.heads[self.level]
                x = Transformer(c, heads, name=f"attentions_{i}")(x, prompt)
            made.append(x)
        if self.resample:
            x = self._resample(x)
            made.append(x)
        return x, made

    def _resample(self, x):
        if not self.down:
            return Upsample(self.c, name="upsamplers_0")(x)
        return Downsample(self.c, name="downsamplers_0")(x)


class Upsample(nn.Module):
    """Doubles height and width."""

    c: UNetConfig

    @nn.compact
    def __call__(self, x: Float[Array, "N h w C"]) -> Float[Array, "N H W C"]:
        """[N h w C] -> [N 2h 2w C]."""
        return upsample(x, self.c.dtype, "conv", self.c.param_dtype)


class Downsample(nn.Module):
    """Halves height and width, with a border of zeros on all sides."""

    c: UNetConfig

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N h w C"]:
        """[N 2h 2w C] -> [N h w C]."""
        padding = ((1, 1), (1, 1))
        return _conv(self.c, x.shape[-1], "conv", strides=2, padding=padding)(x)


class Middle(nn.Module):
    """A residual block, attention, a residual block."""

    c: UNetConfig
    width: int
    heads: int

    @nn.compact
    def __call__(self, x, condition, prompt):
        """Returns the same shape."""
        c = self.c
        x = Residual(c, self.width, name="resnets_0")(x, condition)
        x = Transformer(c, self.heads, name="attentions_0")(x, prompt)
        return Residual(c, self.width, name="resnets_1")(x, condition)


class Residual(nn.Module):
    """x + two rounds of norm, swish, convolution, with the condition added between them."""

    c: UNetConfig
    width: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "N h w C"], condition: Float[Array, "N D"]
    ) -> Float[Array, "N h w K"]:
        """Returns `width` channels."""
        c = self.c
        y = nn.silu(GroupNorm(c.groups, 1e-5, name="norm1")(x))
        y = _conv(c, self.width, "conv1")(y)
        y += _dense(c, self.width, "time_emb_proj")(condition)[:, None, None]
        y = nn.silu(GroupNorm(c.groups, 1e-5, name="norm2")(y))
        y = _conv(c, self.width, "conv2")(y)
        if x.shape[-1] != self.width:
            x = _conv(c, self.width, "conv_shortcut", 1)(x)
        return x + y


class Transformer(nn.Module):
    """x + attention of every cell to every cell, to the prompt, and an MLP."""

    c: UNetConfig
    heads: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "N h w C"], prompt: Float[Array, "N T P"]
    ) -> Float[Array, "N h w C"]:
        """Returns the same shape."""
        c, width = self.c, x.shape[-1]
        y = GroupNorm(c.groups, 1e-6, name="norm")(x)
        y = _dense(c, width, "proj_in")(rearrange(y, "n h w c -> n (h w) c"))
        y = TransformerBlock(c, self.heads, name="transformer_blocks_0")(y, prompt)
        return x + _dense(c, width, "proj_out")(y).reshape(x.shape)


class TransformerBlock(nn.Module):
    """Self-attention, attention to the prompt, and an MLP with a GELU gate; norms before each."""

    c: UNetConfig
    heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "N K C"], prompt: Float[Array, "N T P"]) -> jax.Array:
        """Returns the same shape."""
        norm = partial(nn.LayerNorm, 1e-5, self.c.dtype, self.c.param_dtype)
        attention = partial(Attention, self.c, self.heads)
        y = norm(name="norm1")(x)
        x = x + attention(name="attn1")(y, y)
        x = x + attention(name="attn2")(norm(name="norm2")(x), prompt)
        return x + GatedMlp(self.c, name="ff")(norm(name="norm3")(x))


class GatedMlp(nn.Module):
    """W (a * gelu(b)), where a and b are 4 times as wide."""

    c: UNetConfig

    @nn.compact
    def __call__(self, x: Float[Array, "N K C"]) -> Float[Array, "N K C"]:
        """Returns the same shape."""
        width = x.shape[-1]
        y, gate = jnp.split(_dense(self.c, 8 * width, "net_0_proj")(x), 2, axis=-1)
        return _dense(self.c, width, "net_2")(y * nn.gelu(gate, approximate=False))


class Attention(nn.Module):
    """Attention of x to `source`; scores and softmax are float32."""

    c: UNetConfig
    heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "N K C"], source: Float[Array, "N S D"]) -> jax.Array:
        """[N K C] -> [N K C]."""
        width = x.shape[-1]
        q, k, v = (
            rearrange(
                _dense(self.c, width, f"to_{name}", False)(y), "n t (h c) -> n h t c", h=self.heads
            )
            for name, y in (("q", x), ("k", source), ("v", source))
        )
        y = rearrange(attend(q, k, v), "n h t c -> n t (h c)")
        return _dense(self.c, width, "to_out_0")(y)


def attend(
    q: Float[Array, "N H K C"], k: Float[Array, "N H S C"], v: Float[Array, "N H S C"]
) -> Float[Array, "N H K C"]:
    """Softmax attention to all keys, `_PART` queries at a time: 9,216 cells have 340 MB of scores
    a head."""

    def part(q):
        scores = jnp.einsum("nhkc,nhsc->nhks", q, k, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scores * q.shape[-1] ** -0.5).astype(v.dtype)
        return jnp.einsum("nhks,nhsc->nhkc", weights, v)

    count = q.shape[2]
    if count <= _PART or count % _PART:
        return part(q)
    parts = rearrange(q, "n h (p k) c -> p n h k c", k=_PART)
    return rearrange(jax.lax.map(part, parts), "p n h k c -> n h (p k) c")
