"""SEED-LLaMA: a LLaMA over words and image ids, and the SEED tokenizer that makes the ids.

Without the tokenizer it is any LLaMA, text alone. Axes: N images, K ids of an image, E channels of
an embedding.
Source: arXiv 2310.01218.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from mmcot_jax.models.clip import weights as clip_weights
from mmcot_jax.models.clip.config import ClipConfig
from mmcot_jax.models.clip.model import Clip, from_pixels
from mmcot_jax.models.clip.preprocess import Words
from mmcot_jax.models.seed_llama import tokenizer
from mmcot_jax.models.seed_llama.config import SeedConfig
from mmcot_jax.models.seed_llama.render import SeedRenderer
from mmcot_jax.models.unclip import paint
from mmcot_jax.models.unclip.config import UnclipConfig
from mmcot_jax.nn.decoder_only import ImageIdDecoder
from mmcot_jax.types import Variables


@dataclasses.dataclass(frozen=True, eq=False)
class SeedLlama(ImageIdDecoder):
    """A `Backbone` with the tower "seed"; "unclip" paints its images, "clip" embeds these."""

    seed: SeedConfig | None
    """None: text alone."""
    renderer: SeedRenderer
    context: int
    draws: bool = True
    unclip: UnclipConfig | None = None
    """None: images have an embedding and no pixels."""
    clip: ClipConfig | None = None
    words: Words | None = None
    """CLIP's tokenizer."""

    @property
    def image_outputs(self) -> tuple[str, ...]:
        """The embedding that unCLIP paints, its pixels, and CLIP's embedding of these."""
        towers = (("embedding", self.seed), ("pixels", self.unclip), ("clip", self.clip))
        return tuple(name for name, tower in towers if tower)

    def init_towers(self, key: jax.Array) -> dict[str, Any]:
        """Returns random towers, those that there are."""
        towers = {}
        if self.seed:
            pixels = jnp.zeros((1, self.seed.resolution, self.seed.resolution, 3))
            towers["seed"] = tokenizer.SeedTokenizer(self.seed).init(key, pixels)["params"]
        if self.unclip:
            towers["unclip"] = paint.init(self.unclip, jax.random.fold_in(key, 1))
        if self.clip:
            towers["clip"] = clip_weights.init(self.clip, jax.random.fold_in(key, 2))
        return towers

    def tokenize(self, variables: Variables, images: UInt8[Array, "N h w 3"]) -> Int[Array, "N K"]:
        """Preprocessed images -> image ids."""
        codes = self._seed(variables, "encode", tokenizer.from_pixels(images))
        return codes.astype(jnp.int32) + self.renderer.first_image

    def embed(self, variables: Variables, ids: Int[Array, "N K"]) -> Float[Array, "N E"]:
        """Image ids -> the embedding that a diffusion draws from; other ids are clipped.

        float32, CLIP's image space; not of unit norm.
        """
        return self._seed(variables, "embed", self.ids_to_codes(ids))

    def paint(
        self, variables: Variables, ids: Int[Array, "N K"], keys: jax.Array | None = None
    ) -> UInt8[Array, "N h w 3"]:
        """Image ids -> pixels, with the noise of a key each.

        Raises:
            ValueError: there is no unCLIP.
        """
        if not self.unclip:
            return super().paint(variables, ids, keys)
        embeddings = self.embed(variables, ids)
        return paint.paint(self.unclip, variables["params"]["unclip"], embeddings, keys)

    def embed_pixels(
        self, variables: Variables, pixels: UInt8[Array, "N h w 3"]
    ) -> Float[Array, "N E"]:
        """Pixels -> CLIP's embeddings, not of unit norm."""
        x = from_pixels(pixels, self.clip.size)
        return self._clip(variables, x, "embed_images")

    def text_ids(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> CLIP's token ids, int32 [N T]."""
        return self.words.ids(texts)

    def embed_texts(self, variables: Variables, ids: Int[Array, "N T"]) -> Float[Array, "N E"]:
        """CLIP's token ids -> its embeddings, not of unit norm."""
        return self._clip(variables, ids, "embed_texts")

    def _clip(self, variables: Variables, x: jax.Array, method: str) -> jax.Array:
        params = {"params": variables["params"]["clip"]}
        with jax.default_matmul_precision("highest"):  # float32 stays float32 on an accelerator
            return Clip(self.clip).apply(params, x, method=method)

    def _seed(self, variables: Variables, method: str, x: jax.Array) -> jax.Array:
        if not self.seed:
            raise ValueError(
                "this LLaMA has no images (model.seed is None); give it the sizes and weights of "
                "a SEED tokenizer"
            )
        return tokenizer.run(self.seed, variables["params"]["seed"], method, x)
