"""The vision tower: patches of images in windows -> one feature per cell.

Axes: B rows, W windows, K cells of a window, P patches of a window (cell by cell), H heads,
C head channels, D width.
Source: arXiv 2502.13923, section 2.1.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, UInt8

from mmcot_jax.models.qwen25vl.config import VisionConfig
from mmcot_jax.nn import rope
from mmcot_jax.nn.attention import attend
from mmcot_jax.nn.initializers import as_matrix
from mmcot_jax.nn.layers import scan_layers
from mmcot_jax.nn.linear import Linear, RMSNorm
from mmcot_jax.nn.pixels import CLIP_MEAN, CLIP_STD

WINDOWS_PER_PART = 8
"""Windows whose patches attend to their whole image at a time. With 256 windows of 64 patches and
16 heads these are half a GiB of scores per row; all at once would be 16."""


def to_patches(cells: UInt8[Array, "B W K s s 3"], c: VisionConfig) -> Float[Array, "B W P E"]:
    """Pixels -> normalised patches, float32, each channels x frames x rows x columns long."""
    scale = jnp.asarray(CLIP_STD) * 255
    x = (cells.astype(jnp.float32) - jnp.asarray(CLIP_MEAN) * 255) / scale
    x = rearrange(x, "b w k (i y) (j x) c -> b w (k i j) c y x", y=c.patch, x=c.patch)
    return repeat(x, "b w p c y x -> b w p (c f y x)", f=c.frames)


class Vision(nn.Module):
    """Patches -> features of cells."""

    c: VisionConfig
    out: int
    """Width of the language model."""
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        patches: Float[Array, "B W P E"],
        at: Int[Array, "B W K 2"],
        image: Int[Array, "B W"],
    ) -> Float[Array, "B W K D"]:
        """Returns features of cells; `at` and `image` are those of `example.Windows`."""
        c, windows = self.c, image.shape[1]
        if windows > WINDOWS_PER_PART:
            more = [(0, 0), (0, -windows % WINDOWS_PER_PART)]
            patches, at = (jnp.pad(x, [*more, (0, 0), (0, 0)]) for x in (patches, at + 1))
            at, image = at - 1, jnp.pad(image, more, constant_values=-1)
        inside = jnp.repeat(at[..., 0] >= 0, c.merge**2, axis=2)
        owner = jnp.where(inside, image[..., None], -1)
        every = scan_layers(self, Layer, c.depth, in_axes=(0, nn.broadcast, nn.broadcast))
        layers = every(c, self.dtype, self.param_dtype, name="layers")
        full = jnp.isin(jnp.arange(c.depth), jnp.array(c.full, jnp.int32))
        x, _ = layers(self._embed(patches), full, angles(at, c), owner)
        x = RMSNorm(c.eps, self.param_dtype, name="norm")(x)
        x = rearrange(x, "b w (k m) d -> b w k (m d)", m=c.merge**2)
        x = nn.gelu(_linear(self, "inner", x.shape[-1], x), approximate=False)
        return _linear(self, "outer", self.out, x)[:, :windows]

    def _embed(self, patches):
        c = self.c
        shape = (3, c.frames, c.patch, c.patch, c.width)
        init = as_matrix(nn.initializers.normal(patches.shape[-1] ** -0.5))
        kernel = self.param("patch", init, shape, self.param_dtype)
        kernel = kernel.reshape(-1, c.width).astype(self.dtype)
        return jnp.einsum("bwpe,ed->bwpd", patches.astype(self.dtype), kernel)


class Layer(nn.Module):
    """One layer, as the body of a scan."""

    c: VisionConfig
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x, full, angle, owner):
        """x [B W P D] -> the same shape; `full`: attention is within images, not windows."""
        norm = partial(RMSNorm, self.c.eps, self.param_dtype)
        attention = Attention(self.c, self.dtype, self.param_dtype, name="attention")
        x = x + attention(norm(name="attention_norm")(x), full, angle, owner)
        mlp = Mlp(self.c, self.dtype, self.param_dtype, name="mlp")
        return x + mlp(norm(name="mlp_norm")(x)), None


class Attention(nn.Module):
    """Projection, rotation, attention within windows or images."""

    c: VisionConfig
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x, full, angle, owner):
        """[B W P D] -> [B W P D]."""
        b, w, p, d = x.shape
        qkv = _linear(self, "qkv", 3 * d, x)
        q, k, v = rearrange(qkv, "b w p (n h c) -> n b (w p) h c", n=3, h=self.c.heads)
        q, k = rope.rotate(q, angle), rope.rotate(k, angle)
        y = jax.lax.cond(full, _in_images, _in_windows, q, k, v, owner)
        return _linear(self, "o", d, y.reshape(b, w, p, d))


class Mlp(nn.Module):
    """SwiGLU with biases."""

    c: VisionConfig
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x):
        """[B W P D] -> [B W P D]."""
        gate = nn.silu(_linear(self, "gate", self.c.mlp, x))
        return _linear(self, "down", x.shape[-1], gate * _linear(self, "up", self.c.mlp, x))


def _linear(layer: nn.Module, name: str, features: int, x: jax.Array) -> jax.Array:
    # 1 / sqrt(in): an untrained tower has distinct features for distinct patches at any width
    std = x.shape[-1] ** -0.5
    dtypes = {"dtype": layer.dtype, "param_dtype": layer.param_dtype}
    return Linear(features, True, stddev=std, name=name, **dtypes)(x)


def angles(at: Int[Array, "B W K 2"], c: VisionConfig) -> Float[Array, "B N half"]:
    """Returns rotation angles in radians of all N = W P patches: half by row, half by column."""
    inside = jnp.stack(jnp.indices((c.merge, c.merge)), axis=-1).reshape(-1, 2)
    where = rearrange(at[..., None, :] * c.merge + inside, "b w k m n -> n 1 b (w k m)")
    half = c.width // c.heads // 2
    return jnp.concatenate([rope.angles(x, half, c.rope_theta) for x in where], axis=-1)


def _in_windows(q, k, v, owner: Int[Array, "B W P"]):
    """[B N H C]: each patch attends to those of its window."""
    w, p = owner.shape[1:]
    q = rearrange(q, "b (w p) h c -> (b w) p h c", w=w)
    k, v = (rearrange(x, "b (w p) h c -> (b w) h p c", w=w) for x in (k, v))
    valid = owner.reshape(-1, 1, p) >= 0
    y = attend(q, k, v, jnp.broadcast_to(valid, (len(valid), p, p)))
    return rearrange(y, "(b w) p h c -> b (w p) h c", w=w)


def _in_images(q, k, v, owner: Int[Array, "B W P"]):
    """[B N H C]: each patch attends to those of its image, `WINDOWS_PER_PART` windows at a time."""
    b, w = owner.shape[:2]
    k, v = (rearrange(x, "b s h c -> b h s c") for x in (k, v))
    owner = owner.reshape(b, -1)
    parts = -(-w // WINDOWS_PER_PART)

    def some(piece: tuple[Float[Array, "B Q H C"], Int[Array, "B Q"]]):
        mine, own = piece
        return attend(mine, k, v, same_image(own, owner))

    pieces = (rearrange(x, "b (n q) ... -> n b q ...", n=parts) for x in (q, owner))
    y = jax.lax.map(some, tuple(pieces))
    return rearrange(y, "n b q h c -> b (n q) h c")


def same_image(own: Int[Array, "B Q"], owner: Int[Array, "B S"]) -> Bool[Array, "B Q S"]:
    """Returns whether two patches are of one image; padding is of none."""
    return (own[:, :, None] == owner[:, None, :]) & (owner[:, None, :] >= 0)
