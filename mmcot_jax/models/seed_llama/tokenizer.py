"""SEED-2's picture tokenizer: pixels -> 32 codes in causal order -> the embedding of an image.

Axes: N pictures, T = 1 + patches tokens, K queries (codes of a picture), D width, E channels of a
code, F channels of the embedding, H heads, C head channels.
Source: arXiv 2310.01218 section 3; the causal Q-Former is BLIP-2's (arXiv 2301.12597) with a mask.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Int, UInt8

from mmcot_jax.models.seed_llama.config import SeedConfig
from mmcot_jax.nn.attention import attend
from mmcot_jax.nn.codebook import nearest
from mmcot_jax.nn.linear import Linear
from mmcot_jax.nn.vit import Blocks, Vit, VitConfig, layer_norm

# CLIP's, per colour channel of pixels in 0..1
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

dense = partial(Linear, use_bias=True)
bert_norm = partial(layer_norm, 1e-12, "float32")


class SeedTokenizer(nn.Module):
    """Encoder, codebook and decoder."""

    c: SeedConfig

    def setup(self) -> None:
        """The parts, in the order in which a picture meets them."""
        c = self.c
        vit = VitConfig(c.vit_width, c.vit_layers, c.vit_heads, c.vit_mlp, key_bias=False,
                        dtype=c.dtype, param_dtype=c.param_dtype)  # fmt: skip
        draw = nn.initializers.normal(0.02)
        self.vit = Vit(vit, c.patch)
        self.vision_norm = layer_norm(1e-5, "float32")
        self.queries = self.param("queries", draw, (1, c.queries, c.width))
        self.qformer = QFormer(c)
        self.encode_0, self.encode_1 = dense(c.width), dense(c.code_width)
        self.codebook = self.param("codebook", draw, (c.codes, c.code_width))
        self.decode_0, self.decode_1 = dense(c.code_width), dense(c.width)
        self.image_positions = self.param("image_positions", draw, (1, c.queries, c.width))
        self.image_blocks = Blocks(VitConfig(c.width, c.image_layers, c.image_heads, 4 * c.width))
        self.down = [Linear(width) for width in c.down]
        self.embed_image = dense(c.embedding)

    def __call__(self, pixels: Float[Array, "N H W 3"]) -> Float[Array, "N F"]:
        """Pixels through the codes to the embedding; touches every weight, so `init` calls it."""
        return self.embed(self.encode(pixels))

    def features(self, pixels: Float[Array, "N H W 3"]) -> Float[Array, "N K D"]:
        """Normalised pixels -> what the queries found in them."""
        seen = self.vision_norm(self.vit(pixels))
        return self.qformer(jnp.repeat(self.queries, len(pixels), axis=0), seen)

    def latents(self, pixels: Float[Array, "N H W 3"]) -> Float[Array, "N K E"]:
        """Normalised pixels -> what the codebook is compared with, float32."""
        return self.encode_1(jnp.tanh(self.encode_0(self.features(pixels))))

    def encode(self, pixels: Float[Array, "N H W 3"]) -> Int[Array, "N K"]:
        """Normalised pixels -> int32 codes; each depends on those before it, not on later ones."""
        return nearest(self.latents(pixels), self.codebook)

    def embed(self, codes: Int[Array, "N K"]) -> Float[Array, "N F"]:
        """Codes -> the image embedding, as the diffusion takes it: not of unit norm."""
        x = self.decode_1(jnp.tanh(self.decode_0(self.codebook[codes])))
        x = self.image_blocks(x + self.image_positions)
        for i, down in enumerate(self.down):
            x = down(nn.relu(x) if i else x)
        return self.embed_image(rearrange(x, "n k c -> n (k c)"))


class QFormer(nn.Module):
    """BERT's layers over learned queries, which look back at one another and at the picture."""

    c: SeedConfig

    @nn.compact
    def __call__(
        self, queries: Float[Array, "N K D"], seen: Float[Array, "N T W"]
    ) -> Float[Array, "N K D"]:
        """Queries and the picture's tokens -> queries; norms follow the sublayers."""
        n, k = queries.shape[:2]
        # query 3 of 5 sees [1 1 1 1 0]
        causal = jnp.broadcast_to(jnp.tril(jnp.ones((k, k), bool)), (n, k, k))
        everywhere = jnp.ones((n, k, seen.shape[1]), bool)
        x = bert_norm(name="norm")(queries)
        for layer in range(self.c.layers):
            x = QFormerLayer(self.c, self.c.crosses(layer), name=f"layer_{layer}")(
                x, seen, causal, everywhere
            )
        return x


class QFormerLayer(nn.Module):
    """Self-attention, attention to the picture in every second layer, then the feed-forward."""

    c: SeedConfig
    crosses: bool

    @nn.compact
    def __call__(self, x, seen, causal, everywhere) -> Float[Array, "N K D"]:
        """[N K D], [N T W] and their masks -> [N K D]."""
        x = Lookup(self.c, name="self")(x, x, causal)
        if self.crosses:
            x = Lookup(self.c, name="cross")(x, seen, everywhere)
        y = nn.gelu(dense(self.c.mlp, name="up")(x), approximate=False)
        return bert_norm(name="norm")(x + dense(self.c.width, name="down")(y))


class Lookup(nn.Module):
    """norm(x + attention of x to `seen`)."""

    c: SeedConfig

    @nn.compact
    def __call__(self, x, seen, mask) -> Float[Array, "N K D"]:
        """[N K D], [N S W], [N K S] -> [N K D]."""
        width, heads = self.c.width, self.c.heads
        q = rearrange(dense(width, name="q")(x), "n k (h c) -> n k h c", h=heads)
        k, v = (
            rearrange(dense(width, name=name)(seen), "n s (h c) -> n h s c", h=heads)
            for name in "kv"
        )
        y = attend(q, k, v, mask).reshape(x.shape)
        return bert_norm(name="norm")(x + dense(width, name="out")(y))


def from_pixels(images: UInt8[Array, "N H W 3"]) -> Float[Array, "N H W 3"]:
    """Pixels 0..255 -> float32, normalised as CLIP's."""
    x = images.astype(jnp.float32) / 255
    return (x - jnp.array(MEAN, jnp.float32)) / jnp.array(STD, jnp.float32)


def run(c: SeedConfig, params: dict, method: str, x: jax.Array) -> jax.Array:
    """A method of the tokenizer in full float32, whatever an accelerator does by default.

    A code is an argmin: shortened passes move it.
    """
    with jax.default_matmul_precision("highest"):
        return SeedTokenizer(c).apply({"params": params}, x, method=method)
