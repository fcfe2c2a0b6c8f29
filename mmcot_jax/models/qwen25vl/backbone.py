"""Qwen2.5-VL: a decoder over words, and a vision tower whose features replace placeholders.

Axes: B rows, T time, P tokens with features, D width, W windows, K cells of a window.
Source: arXiv 2502.13923.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange

from mmcot_jax.example import Windows
from mmcot_jax.models.qwen25vl.config import VisionConfig
from mmcot_jax.models.qwen25vl.render import Qwen25VLRenderer
from mmcot_jax.models.qwen25vl.vision import Vision, to_patches
from mmcot_jax.nn.decoder import Decoder
from mmcot_jax.nn.decoder_only import DecoderOnly, decoder_variables
from mmcot_jax.types import Batch, Grammar, Variables


@dataclasses.dataclass(frozen=True, eq=False)
class Qwen25VL(DecoderOnly):
    """A `Backbone` with the tower "vision", which is frozen. It has no ids for images."""

    vision: VisionConfig
    renderer: Qwen25VLRenderer
    context: int
    position_axes = 3

    @property
    def grammar(self) -> Grammar:
        """Text only."""
        return Grammar(
            is_image=jnp.zeros(self.c.vocab, bool),
            is_text=jnp.asarray(self.renderer.is_text(self.c.vocab)),
            eos=self.renderer.eos_ids,
        )

    def init_towers(self, key: jax.Array) -> dict[str, Any]:
        """Returns a random vision tower."""
        v = self.vision
        cells = jnp.zeros((1, 1, v.cells**2, v.cell, v.cell, 3), jnp.uint8)
        at = jnp.zeros((1, 1, v.cells**2, 2), jnp.int32)
        given = to_patches(cells, v), at, jnp.zeros((1, 1), jnp.int32)
        return {"vision": self._tower().init(key, *given)["params"]}

    def prepare(self, variables: Variables, batch: Batch) -> Batch:
        """Turns `batch.pixels` into `embeds`, so that the tower runs once for all readers."""
        if batch.pixels is None:
            return batch
        cells, at, image, source = Windows(*batch.pixels)
        params = {"params": variables["params"]["vision"]}
        features = self._tower().apply(params, to_patches(cells, self.vision), at, image)
        features = rearrange(features, "b w k d -> b (w k) d")
        chosen = jax.vmap(lambda own, index: own[index])(features, jnp.maximum(source, 0))
        embeds = jnp.where(source[..., None] >= 0, chosen, 0)
        return batch._replace(pixels=None, embeds=jax.lax.stop_gradient(embeds))

    def fill_embeds(self, variables: Variables, batch: Batch) -> Batch:
        """Puts `batch.embeds` at the placeholders among the first P tokens; all else is words."""
        if batch.embeds is None:
            return batch
        words = decoder_variables(variables)
        embed = lambda module, tokens: module.embed(tokens)  # noqa: E731
        x = Decoder(self.c).apply(words, batch.tokens, method=embed)
        p = batch.embeds.shape[1]
        # the grammar writes no placeholder, and no text spells one
        placeholder = batch.tokens[:, :p, None] == self.renderer.ids["pad"]
        mixed = jnp.where(placeholder, batch.embeds.astype(x.dtype), x[:, :p])
        return batch._replace(embeds=jnp.concatenate([mixed, x[:, p:]], axis=1))

    def _tower(self) -> Vision:
        return Vision(self.vision, self.c.width, self.c.dtype, self.c.param_dtype)
