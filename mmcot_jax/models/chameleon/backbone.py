"""Chameleon: one decoder over text and image ids, and the VQGAN that makes and draws the ids.

Axes: N images, K ids of an image.
Source: arXiv 2405.09818; Anole (arXiv 2407.06135) is the same network, trained to draw.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt8

from mmcot_jax.models.chameleon.config import VQGANConfig
from mmcot_jax.models.chameleon.render import ChameleonRenderer
from mmcot_jax.models.chameleon.vqgan import VQGAN, from_pixels, to_pixels
from mmcot_jax.nn.decoder_only import ImageIdDecoder
from mmcot_jax.types import Variables


@dataclasses.dataclass(frozen=True, eq=False)
class Chameleon(ImageIdDecoder):
    """A `Backbone` with the tower "vqgan"."""

    vqgan: VQGANConfig
    renderer: ChameleonRenderer
    context: int
    draws: bool = True
    image_outputs = ("pixels",)

    def init_towers(self, key: jax.Array) -> dict[str, Any]:
        """Returns a random VQGAN."""
        side = self.vqgan.resolution
        return {"vqgan": VQGAN(self.vqgan).init(key, jnp.zeros((1, side, side, 3)))["params"]}

    def tokenize(self, variables: Variables, images: UInt8[Array, "N h w 3"]) -> Int[Array, "N K"]:
        """Preprocessed images -> image ids."""
        pixels = from_pixels(images, scale=self.renderer.variant)
        codes = self._vqgan(variables, "encode", pixels)
        return codes.astype(jnp.int32) + self.renderer.first_image

    def paint(
        self, variables: Variables, ids: Int[Array, "N K"], keys: jax.Array | None = None
    ) -> UInt8[Array, "N h w 3"]:
        """Image ids -> pixels, without randomness; other ids are clipped to image ids."""
        return to_pixels(self._vqgan(variables, "decode", self.ids_to_codes(ids)))

    def _vqgan(self, variables: Variables, method: str, x: jax.Array) -> jax.Array:
        params = {"params": variables["params"]["vqgan"]}
        return VQGAN(self.vqgan).apply(params, x, method=method)
