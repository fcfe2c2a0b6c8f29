"""SEED-LLaMA: a LLaMA over words and image ids, and the SEED tokenizer that makes the ids.

Without the tokenizer it is any LLaMA, text alone. Axes: N images, K ids of an image, E channels of
an embedding.
Source: arXiv 2310.01218.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from mmcot_jax.models.seed_llama import tokenizer
from mmcot_jax.models.seed_llama.config import SeedConfig
from mmcot_jax.models.seed_llama.render import SeedRenderer
from mmcot_jax.nn.decoder_only import ImageIdDecoder
from mmcot_jax.types import Variables


@dataclasses.dataclass(frozen=True, eq=False)
class SeedLlama(ImageIdDecoder):
    """A `Backbone` with the tower "seed". Its images have an embedding and no pixels."""

    seed: SeedConfig | None
    """None: text alone."""
    renderer: SeedRenderer
    context: int
    draws: bool = True

    @property
    def image_outputs(self) -> tuple[str, ...]:
        """The embedding that unCLIP diffusion, which is not in this package, makes pixels from."""
        return ("embedding",) if self.seed else ()

    def init_towers(self, key: jax.Array) -> dict[str, Any]:
        """Returns a random image tokenizer, if there is one."""
        if not self.seed:
            return {}
        pixels = jnp.zeros((1, self.seed.resolution, self.seed.resolution, 3))
        return {"seed": tokenizer.SeedTokenizer(self.seed).init(key, pixels)["params"]}

    def tokenize(self, variables: Variables, images: UInt8[Array, "N h w 3"]) -> Int[Array, "N K"]:
        """Preprocessed images -> image ids."""
        codes = self._seed(variables, "encode", tokenizer.from_pixels(images))
        return codes.astype(jnp.int32) + self.renderer.first_image

    def embed(self, variables: Variables, ids: Int[Array, "N K"]) -> Float[Array, "N E"]:
        """Image ids -> the embedding that a diffusion draws from; other ids are clipped.

        float32, CLIP's image space; not of unit norm.
        """
        return self._seed(variables, "embed", self.ids_to_codes(ids))

    def _seed(self, variables: Variables, method: str, x: jax.Array) -> jax.Array:
        if not self.seed:
            raise ValueError(
                "this LLaMA has no images (model.seed is None); give it the sizes and weights of "
                "a SEED tokenizer"
            )
        return tokenizer.run(self.seed, variables["params"]["seed"], method, x)
