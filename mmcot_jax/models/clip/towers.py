"""CLIP's two towers: images and texts -> embeddings whose cosine says how well they match.

Axes: N images or texts, T tokens, D width, H heads, C head channels, E channels of an embedding.
Source: arXiv 2103.00020.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from mmcot_jax.models.clip.config import ClipConfig, ImageConfig, TextConfig
from mmcot_jax.nn.attention import attend
from mmcot_jax.nn.linear import Linear
from mmcot_jax.nn.vit import layer_norm


class Clip(nn.Module):
    """Both towers, and their projections to one space."""

    c: ClipConfig

    def setup(self) -> None:
        """Makes the towers, the projections and the scale of the logits."""
        c = self.c
        dtypes = {"dtype": c.dtype, "param_dtype": c.param_dtype}
        self.image = ImageTower(c.image, **dtypes)
        self.text = TextTower(c.text, **dtypes)
        linear = partial(Linear, c.projection, **dtypes, out_dtype=jnp.float32)
        self.image_projection, self.text_projection = linear(), linear()
        # exp(2.6592) is 1 / 0.07, the first temperature of CLIP's training
        start = nn.initializers.constant(2.6592)
        self.logit_scale = self.param("logit_scale", start, (), c.param_dtype)

    def __call__(
        self, pixels: Float[Array, "N H W 3"], ids: Int[Array, "M T"]
    ) -> Float[Array, "N M"]:
        """Returns logits of each image for each text: cosines times exp(`logit_scale`)."""
        images, texts = unit(self.embed_images(pixels)), unit(self.embed_texts(ids))
        scale = jnp.exp(self.logit_scale.astype(jnp.float32))
        return scale * jnp.einsum("ne,me->nm", images, texts, precision="highest")

    def embed_images(self, pixels: Float[Array, "N H W 3"]) -> Float[Array, "N E"]:
        """Normalised pixels -> float32 embeddings, not of unit norm."""
        return self.image_projection(self.image.pool(self.image(pixels)))

    def embed_texts(self, ids: Int[Array, "N T"]) -> Float[Array, "N E"]:
        """Token ids, padded on the right with any id -> float32 embeddings, not of unit norm."""
        return self.text_projection(self.text.pool(ids, self.text(ids)))

    def image_hidden(self, pixels: Float[Array, "N H W 3"]) -> Float[Array, "N T D"]:
        """Normalised pixels -> the last layer's output, before the last norm."""
        return self.image(pixels)

    def text_hidden(self, ids: Int[Array, "N T"]) -> Float[Array, "N T D"]:
        """Token ids -> the last layer's output, before the last norm."""
        return self.text(ids)


class ImageTower(nn.Module):
    """A ViT with a norm before its layers."""

    c: ImageConfig
    dtype: str
    param_dtype: str

    def setup(self) -> None:
        """Makes the parts, in the order in which they are applied."""
        c, draw = self.c, nn.initializers.normal(0.02)
        shape = (c.patch, c.patch, 3, c.width)
        self.patch_kernel = self.param("patch_kernel", draw, shape, self.param_dtype)
        self.class_token = self.param("class_token", draw, (c.width,), self.param_dtype)
        self.positions = self.param("positions", draw, (c.tokens, c.width), self.param_dtype)
        self.pre_norm = layer_norm(c.eps, self.param_dtype)
        self.layers = _layers(c, self.dtype, self.param_dtype)
        self.post_norm = layer_norm(c.eps, self.param_dtype)

    def __call__(self, pixels: Float[Array, "N H W 3"]) -> Float[Array, "N T D"]:
        """Normalised pixels -> tokens, the class token first, then patches in raster order."""
        patches = rearrange(
            pixels, "n (y i) (x j) c -> n (y x) i j c", i=self.c.patch, j=self.c.patch
        )
        # a patch is 588 numbers: they are summed in float32
        x = jnp.einsum(
            "npijc,ijcd->npd", patches.astype(self.dtype), self.patch_kernel.astype(self.dtype),
            preferred_element_type=jnp.float32,
        )  # fmt: skip
        first = jnp.broadcast_to(self.class_token, (len(x), 1, self.c.width))
        x = self.pre_norm(jnp.concatenate([first, x], axis=1) + self.positions)
        t = x.shape[1]
        return self.layers(x.astype(self.dtype), jnp.ones((len(x), t, t), bool))[0]

    def pool(self, hidden: Float[Array, "N T D"]) -> Float[Array, "N D"]:
        """Returns the class token, normed."""
        return self.post_norm(hidden[:, 0])


class TextTower(nn.Module):
    """A causal transformer over tokens."""

    c: TextConfig
    dtype: str
    param_dtype: str

    def setup(self) -> None:
        """Makes the parts, in the order in which they are applied."""
        c, draw = self.c, nn.initializers.normal(0.02)
        self.embed = nn.Embed(
            c.vocab, c.width, embedding_init=draw, param_dtype=self.param_dtype, dtype=jnp.float32
        )
        self.positions = self.param("positions", draw, (c.context, c.width), self.param_dtype)
        self.layers = _layers(c, self.dtype, self.param_dtype)
        self.norm = layer_norm(c.eps, self.param_dtype)

    def __call__(self, ids: Int[Array, "N T"]) -> Float[Array, "N T D"]:
        """Token ids -> the last layer's output; a token depends on none after it."""
        n, t = ids.shape
        x = self.embed(ids) + self.positions[:t]
        causal = jnp.broadcast_to(jnp.tril(jnp.ones((t, t), bool)), (n, t, t))
        return self.layers(x.astype(self.dtype), causal)[0]

    def pool(self, ids: Int[Array, "N T"], hidden: Float[Array, "N T D"]) -> Float[Array, "N D"]:
        """Returns the vector at the first end of text, normed."""
        ends = ids if self.c.eos is None else ids == self.c.eos
        at = jnp.argmax(ends, axis=1)
        return self.norm(jnp.take_along_axis(hidden, at[:, None, None], axis=1)[:, 0])


class Layer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), as the body of a scan."""

    c: ImageConfig | TextConfig
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "N T D"], mask: Bool[Array, "N T T"]
    ) -> tuple[Float[Array, "N T D"], None]:
        """Returns the same shape."""
        c = self.c
        linear = partial(Linear, use_bias=True, dtype=self.dtype, param_dtype=self.param_dtype)
        norm = partial(layer_norm, c.eps, self.param_dtype)
        attention = Attention(c, self.dtype, self.param_dtype, name="attention")
        x = x + attention(norm("attention_norm")(x), mask)
        y = linear(c.mlp, name="fc1")(norm("mlp_norm")(x))
        y = y * nn.sigmoid(1.702 * y) if c.act == "quick_gelu" else nn.gelu(y, approximate=False)
        return x + linear(c.width, name="fc2")(y), None


class Attention(nn.Module):
    """Attention of every token to those that `mask` allows."""

    c: ImageConfig | TextConfig
    dtype: str
    param_dtype: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "N T D"], mask: Bool[Array, "N T T"]
    ) -> Float[Array, "N T D"]:
        """Returns the same shape."""
        linear = partial(Linear, self.c.width, True, dtype=self.dtype, param_dtype=self.param_dtype)
        q = rearrange(linear(name="q")(x), "n t (h c) -> n t h c", h=self.c.heads)
        k, v = (
            rearrange(linear(name=name)(x), "n t (h c) -> n h t c", h=self.c.heads) for name in "kv"
        )
        return linear(name="out")(attend(q, k, v, mask).reshape(x.shape))


def _layers(c: ImageConfig | TextConfig, dtype: str, param_dtype: str) -> nn.Module:
    """Returns layers with stacked parameters: one program whatever their number."""
    every = nn.scan(
        Layer, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=nn.broadcast,
        length=c.layers,
    )  # fmt: skip
    return every(c, dtype, param_dtype)


def unit(x: Float[Array, "N E"]) -> Float[Array, "N E"]:
    """Returns vectors of unit norm."""
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def init(c: ClipConfig, key: jax.Array) -> dict:
    """Returns random parameters."""
    pixels = jnp.zeros((1, c.image.resolution, c.image.resolution, 3))
    return Clip(c).init(key, pixels, jnp.zeros((1, 2), jnp.int32))["params"]
