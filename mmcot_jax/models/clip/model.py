"""CLIP's two towers. Axes: N images or texts, H W pixels, T tokens, D width, E channels.

Source: arXiv 2103.00020. The activation x sigmoid(1.702 x) is the released models'.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Int, UInt8

from mmcot_jax.models.clip.config import ClipConfig, Tower
from mmcot_jax.models.clip.resize import resize_and_crop
from mmcot_jax.nn.initializers import as_matrix
from mmcot_jax.nn.layers import scan_layers
from mmcot_jax.nn.linear import Linear
from mmcot_jax.nn.pixels import CLIP_MEAN, CLIP_STD
from mmcot_jax.nn.vit import layer_norm


class Clip(nn.Module):
    """Images and texts -> embeddings of one space; not of unit norm."""

    c: ClipConfig

    def setup(self) -> None:
        """Makes the towers and their projections."""
        c = self.c
        self.vision, self.text = Vision(c), Text(c)
        linear = partial(Linear, c.projection, dtype=c.dtype, param_dtype=c.param_dtype)
        self.visual_projection, self.text_projection = linear(), linear()
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(2.6592), ())

    def __call__(
        self, pixels: Float[Array, "N H W 3"], ids: Int[Array, "M T"]
    ) -> tuple[Float[Array, "N E"], Float[Array, "M E"]]:
        """Embeds both; uses every weight, so `init` calls it."""
        return self.embed_images(pixels), self.embed_texts(ids)

    def embed_images(self, pixels: Float[Array, "N H W 3"]) -> Float[Array, "N E"]:
        """Normalised pixels of the model's size -> float32."""
        return self.visual_projection(self.vision(pixels)).astype(jnp.float32)

    def embed_texts(self, ids: Int[Array, "N T"]) -> Float[Array, "N E"]:
        """Token ids, padded on the right with the end of text or id 0 -> float32.

        The end of text is the largest id of a row; its first one counts.
        """
        hidden = self.text(ids)
        pooled = hidden[jnp.arange(len(ids)), jnp.argmax(ids, axis=1)]
        return self.text_projection(pooled).astype(jnp.float32)


class Vision(nn.Module):
    """A class token and one token a patch, through pre-norm blocks."""

    c: ClipConfig

    @nn.compact
    def __call__(self, pixels: Float[Array, "N H W 3"]) -> Float[Array, "N D"]:
        """Normalised pixels -> the class token's state after the last norm."""
        c, width = self.c, self.c.vision.width
        draw = nn.initializers.normal(0.02)
        shape = (c.patch, c.patch, 3, width)
        kernel = self.param("patch_kernel", as_matrix(draw), shape, c.param_dtype)
        first = self.param("class_token", draw, (width,), c.param_dtype)
        x = rearrange(pixels, "n (y i) (x j) c -> n (y x) i j c", i=c.patch, j=c.patch)
        positions = self.param("positions", draw, (1 + x.shape[1], width), c.param_dtype)
        x = jnp.einsum(
            "npijc,ijcd->npd", x.astype(c.dtype), kernel.astype(c.dtype),
            preferred_element_type=jnp.float32,
        )  # fmt: skip
        x = jnp.concatenate([jnp.broadcast_to(first, (len(x), 1, width)), x], axis=1) + positions
        norm = partial(layer_norm, c.vision.eps, c.param_dtype)
        x = norm("pre_norm")(x).astype(c.dtype)
        x = Blocks(c, c.vision, causal=False, name="blocks")(x)
        return norm("norm")(x[:, 0]).astype(c.dtype)


class Text(nn.Module):
    """Tokens through causal blocks."""

    c: ClipConfig

    @nn.compact
    def __call__(self, ids: Int[Array, "N T"]) -> Float[Array, "N T D"]:
        """Returns all hidden states after the last norm."""
        c, width = self.c, self.c.text.width
        draw = nn.initializers.normal(0.02)
        table = self.param("tokens", draw, (c.vocab, width), c.param_dtype)
        positions = self.param("positions", draw, (c.positions, width), c.param_dtype)
        x = (table[ids] + positions[: ids.shape[1]]).astype(c.dtype)
        x = Blocks(c, c.text, causal=True, name="blocks")(x)
        return layer_norm(c.text.eps, c.param_dtype, "norm")(x).astype(c.dtype)


class Blocks(nn.Module):
    """A stack of blocks with stacked parameters: one program whatever their number."""

    c: ClipConfig
    tower: Tower
    causal: bool

    @nn.compact
    def __call__(self, x: Float[Array, "N T D"]) -> Float[Array, "N T D"]:
        """Returns the same shape, without a last norm."""
        every = scan_layers(self, Block, self.tower.layers)
        return every(self.c, self.tower, self.causal, name="layers")(x)[0]


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), as the body of a scan."""

    c: ClipConfig
    tower: Tower
    causal: bool

    @nn.compact
    def __call__(self, x: Float[Array, "N T D"]) -> tuple[Float[Array, "N T D"], None]:
        """Returns the same shape."""
        c, tower = self.c, self.tower
        linear = partial(Linear, use_bias=True, dtype=c.dtype, param_dtype=c.param_dtype)
        norm = partial(layer_norm, tower.eps, c.param_dtype)
        y = norm("attention_norm")(x).astype(c.dtype)
        q, k, v = (
            rearrange(linear(tower.width, name=f"attention_{name}")(y), "n t (h c) -> n h t c",
                      h=tower.heads)
            for name in "qkv"
        )  # fmt: skip
        scores = jnp.einsum("nhqc,nhkc->nhqk", q, k, preferred_element_type=jnp.float32)
        scores = scores * q.shape[-1] ** -0.5
        if self.causal:
            t = jnp.arange(x.shape[1])
            scores = jnp.where(t[:, None] >= t, scores, jnp.finfo(jnp.float32).min)
        y = jnp.einsum("nhqk,nhkc->nhqc", nn.softmax(scores).astype(v.dtype), v)
        x = x + linear(tower.width, name="attention_out")(rearrange(y, "n h t c -> n t (h c)"))
        y = linear(tower.mlp, name="fc1")(norm("mlp_norm")(x).astype(c.dtype))
        gelu = tower.activation == "gelu"
        y = nn.gelu(y, approximate=False) if gelu else y * nn.sigmoid(1.702 * y)
        return x + linear(tower.width, name="fc2")(y), None


def from_pixels(images: UInt8[Array, "N H W 3"], size: int) -> Float[Array, "N S S 3"]:
    """Images -> normalised pixels of the model's size, on the device.

    Equal to `preprocess.preprocess`: the shorter side resized bicubically, the centre cropped.
    """
    x = resize_and_crop(images, size).astype(jnp.float32)
    return (x / 255 - jnp.array(CLIP_MEAN)) / jnp.array(CLIP_STD)
