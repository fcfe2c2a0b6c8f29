"""Qwen2.5-VL: a decoder over words, and a vision tower whose features stand at placeholders.

Axes: B rows, N pictures, K ids of a picture, T time, P of them with features, D width,
V vocabulary, W windows.
Source: arXiv 2502.13923.
"""

import dataclasses

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Int, UInt8

from mmcot_jax.example import Windows
from mmcot_jax.models.qwen25vl.render import Qwen25VLRenderer
from mmcot_jax.models.qwen25vl.sizes import VisionConfig
from mmcot_jax.models.qwen25vl.vision import Vision, to_patches
from mmcot_jax.nn import decoder
from mmcot_jax.nn.decoder import Decoder, DecoderConfig
from mmcot_jax.types import Batch, Cache, Grammar, Variables


@dataclasses.dataclass(frozen=True, eq=False)
class Qwen25VL:
    """A `Backbone`; hashed by identity, so build it once a run. The tower is frozen."""

    c: DecoderConfig
    vision: VisionConfig
    renderer: Qwen25VLRenderer
    context: int
    position_axes: int = 3
    image_outputs: tuple[str, ...] = ()
    """Nothing of pictures: it draws none."""

    @property
    def grammar(self) -> Grammar:
        """Text only."""
        return Grammar(
            is_image=jnp.zeros(self.c.vocab, bool),
            is_text=jnp.asarray(self.renderer.is_text(self.c.vocab)),
            eos=self.renderer.eos_ids,
        )

    def init(self, key: jax.Array) -> Variables:
        """Random weights: {"params": {"decoder", "vision"}, "lora": {"decoder"}}."""
        words, pictures, adapters = jax.random.split(key, 3)
        ones = jnp.ones((1, 1), bool)
        batch = Batch(jnp.zeros((1, 1), jnp.int32), jnp.zeros((3, 1, 1), jnp.int32), ones, ones)
        rngs = {"params": words, "lora": adapters}
        variables = Decoder(self.c).init(rngs, batch, method="everything")
        v = self.vision
        cells = jnp.zeros((1, 1, v.cells**2, v.cell, v.cell, 3), jnp.uint8)
        at = jnp.zeros((1, 1, v.cells**2, 2), jnp.int32)
        given = to_patches(cells, v), at, jnp.zeros((1, 1), jnp.int32)
        vision = self._tower().init(pictures, *given)
        tree = {"params": {"decoder": variables["params"], "vision": vision["params"]}}
        return tree | ({"lora": {"decoder": variables["lora"]}} if self.c.lora else {})

    def prepare(self, variables: Variables, batch: Batch) -> Batch:
        """Turns `batch.pixels` into `embeds`: the tower runs once, whoever reads them after."""
        if batch.pixels is None:
            return batch
        cells, at, image, source = Windows(*batch.pixels)
        params = {"params": variables["params"]["vision"]}
        features = self._tower().apply(params, to_patches(cells, self.vision), at, image)
        features = rearrange(features, "b w k d -> b (w k) d")
        chosen = jax.vmap(lambda own, index: own[index])(features, jnp.maximum(source, 0))
        embeds = jnp.where(source[..., None] >= 0, chosen, 0)
        return batch._replace(pixels=None, embeds=jax.lax.stop_gradient(embeds))

    def tokenize(self, variables: Variables, images: UInt8[Array, "N h w 3"]) -> Int[Array, "N K"]:
        """Refused: images have no ids here.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "Qwen2.5-VL has no ids for images, it sees their pixels; render rows with its own "
            "renderer, whose images need no tokenizing"
        )

    def __call__(
        self,
        variables: Variables,
        batch: Batch,
        cache: Cache | None = None,
        *,
        dropout: jax.Array | None = None,
    ) -> tuple[Float[Array, "B T D"], Cache | None]:
        """Hidden states after the last norm.

        `batch.embeds` stand at the placeholders among the first P tokens; all else is words.
        """
        rngs = None if dropout is None else {"dropout": dropout}
        words = _words(variables)
        if batch.embeds is not None:
            batch = batch._replace(embeds=self._mixed(words, batch))
        return Decoder(self.c).apply(words, batch, cache, rngs=rngs)

    def unembed(self, variables: Variables, hidden: Float[Array, "*B D"]) -> Float[Array, "*B V"]:
        """float32 logits over all ids; the grammar masks, not the head."""
        return Decoder(self.c).apply(_words(variables), hidden, method="unembed")

    def init_cache(self, batch: int, slots: int) -> Cache:
        """An empty cache."""
        return decoder.init_cache(self.c, batch, slots)

    def paint(
        self, variables: Variables, ids: Int[Array, "N K"], key: jax.Array | None = None
    ) -> UInt8[Array, "N h w 3"]:
        """Refused: it writes words only.

        Raises:
            ValueError: always.
        """
        raise ValueError("Qwen2.5-VL writes words only, it paints nothing; ask for no pictures")

    def _mixed(self, words: Variables, batch: Batch) -> Float[Array, "B T D"]:
        x = Decoder(self.c).apply(words, batch.tokens, method=_embed)
        p = batch.embeds.shape[1]
        # the grammar writes no placeholder, and no text spells one
        pictured = batch.tokens[:, :p, None] == self.renderer.ids["pad"]
        seen = jnp.where(pictured, batch.embeds.astype(x.dtype), x[:, :p])
        return jnp.concatenate([seen, x[:, p:]], axis=1)

    def _tower(self) -> Vision:
        return Vision(self.vision, self.c.width, self.c.dtype, self.c.param_dtype)


def _words(variables: Variables) -> Variables:
    """The decoder's part of every collection."""
    return {name: tree["decoder"] for name, tree in variables.items()}


def _embed(module: Decoder, tokens: Int[Array, "B T"]) -> Float[Array, "B T D"]:
    return module.embed(tokens)
