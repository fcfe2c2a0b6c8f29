"""SEED-2's image tokenizer: pixels -> 32 codes in causal order -> the embedding of an image.

Axes: N images, T = 1 + patches tokens, W width of the ViT, K queries (codes of an image), D width,
E channels of a code, F channels of the embedding, H heads, C head channels.
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
from mmcot_jax.nn.pixels import CLIP_MEAN, CLIP_STD
from mmcot_jax.nn.vit import Blocks, Vit, VitConfig, layer_norm

dense = partial(Linear, use_bias=True)
bert_norm = partial(layer_norm, 1e-12, "float32")


class SeedTokenizer(nn.Module):
    """Encoder, codebook and decoder."""

    c: SeedConfig

    def setup(self) -> None:
        """Makes the parts, in the order in which they are applied."""
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
        """Encodes and embeds; uses every weight, so `init` calls it."""
        return self.embed(self.encode(pixels))

    def features(self, pixels: Float[Array, "N H W 3"]) -> Float[Array, "N K D"]:
        """Normalised pixels -> one vector per query."""
        tokens = self.vision_norm(self.vit(pixels))
        return self.qformer(jnp.repeat(self.queries, len(pixels), axis=0), tokens)

    def latents(self, pixels: Float[Array, "N H W 3"]) -> Float[Array, "N K E"]:
        """Normalised pixels -> float32 vectors, whose nearest codes `encode` returns."""
        return self.encode_1(jnp.tanh(self.encode_0(self.features(pixels))))

    def encode(self, pixels: Float[Array, "N H W 3"]) -> Int[Array, "N K"]:
        """Normalised pixels -> int32 codes; each depends on those before it, not on later ones."""
        return nearest(self.latents(pixels), self.codebook)

    def embed(self, codes: Int[Array, "N K"]) -> Float[Array, "N F"]:
        """Codes -> the image embedding that unCLIP diffusion takes: not of unit norm."""
        x = self.decode_1(jnp.tanh(self.decode_0(self.codebook[codes])))
        x = self.image_blocks(x + self.image_positions)
        for i, down in enumerate(self.down):
            x = down(nn.relu(x) if i else x)
        return self.embed_image(rearrange(x, "n k c -> n (k c)"))


class QFormer(nn.Module):
    """BERT's layers over learned queries, which attend to earlier queries and to the image."""

    c: SeedConfig

    @nn.compact
    def __call__(
        self, queries: Float[Array, "N K D"], tokens: Float[Array, "N T W"]
    ) -> Float[Array, "N K D"]:
        """Queries and the image's tokens -> queries; norms follow the sublayers."""
        n, k = queries.shape[:2]
        # query 3 of 5 attends to [1 1 1 1 0]
        causal = jnp.broadcast_to(jnp.tril(jnp.ones((k, k), bool)), (n, k, k))
        unmasked = jnp.ones((n, k, tokens.shape[1]), bool)
        x = bert_norm(name="norm")(queries)
        for layer in range(self.c.layers):
            x = QFormerLayer(self.c, self.c.crosses(layer), name=f"layer_{layer}")(
                x, tokens, causal, unmasked
            )
        return x


class QFormerLayer(nn.Module):
    """Self-attention, attention to the image in every second layer, then the feed-forward."""

    c: SeedConfig
    crosses: bool

    @nn.compact
    def __call__(self, x, tokens, causal, unmasked) -> Float[Array, "N K D"]:
        """[N K D], [N T W] and their masks -> [N K D]."""
        x = AttentionLayer(self.c, name="self")(x, x, causal)
        if self.crosses:
            x = AttentionLayer(self.c, name="cross")(x, tokens, unmasked)
        y = nn.gelu(dense(self.c.mlp, name="up")(x), approximate=False)
        return bert_norm(name="norm")(x + dense(self.c.width, name="down")(y))


class AttentionLayer(nn.Module):
    """norm(x + attention of x to `source`)."""

    c: SeedConfig

    @nn.compact
    def __call__(self, x, source, mask) -> Float[Array, "N K D"]:
        """[N K D], [N S W], [N K S] -> [N K D]."""
        width, heads = self.c.width, self.c.heads
        q = rearrange(dense(width, name="q")(x), "n k (h c) -> n k h c", h=heads)
        k, v = (
            rearrange(dense(width, name=name)(source), "n s (h c) -> n h s c", h=heads)
            for name in "kv"
        )
        y = attend(q, k, v, mask).reshape(x.shape)
        return bert_norm(name="norm")(x + dense(width, name="out")(y))


def from_pixels(images: UInt8[Array, "N H W 3"]) -> Float[Array, "N H W 3"]:
    """Pixels 0..255 -> float32, normalised as CLIP's."""
    x = images.astype(jnp.float32) / 255
    return (x - jnp.array(CLIP_MEAN, jnp.float32)) / jnp.array(CLIP_STD, jnp.float32)


def run(c: SeedConfig, params: dict, method: str, x: jax.Array) -> jax.Array:
    """Applies a method of the tokenizer in full float32, whatever an accelerator's default.

    A code is an argmin, which reduced precision changes.
    """
    with jax.default_matmul_precision("highest"):
        return SeedTokenizer(c).apply({"params": params}, x, method=method)
