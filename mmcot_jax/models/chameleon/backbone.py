"""Chameleon: one decoder over text and picture ids, and the VQGAN that makes and paints the ids.

Axes: B rows, M images in a row, N pictures, K ids of a picture, T time, D width, V vocabulary.
Source: arXiv 2405.09818; Anole (arXiv 2407.06135) is the same network, able to draw.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float, Int, UInt8

from mmcot_jax.models.chameleon.render import EOS, FIRST_IMAGE, ChameleonRenderer
from mmcot_jax.models.chameleon.vqgan import VQGAN, from_pixels, to_pixels
from mmcot_jax.models.chameleon.vqgan_keys import VQGANConfig
from mmcot_jax.nn import decoder
from mmcot_jax.nn.decoder import Decoder, DecoderConfig
from mmcot_jax.types import Batch, Cache, Grammar, Pixels, Variables, fill_image_ids


@dataclasses.dataclass(frozen=True, eq=False)
class Chameleon:
    """A `Backbone`; hashed by identity, so build it once a run."""

    c: DecoderConfig
    vqgan: VQGANConfig
    renderer: ChameleonRenderer
    context: int
    draws: bool = True
    """Whether it may open an image; the textual twin may not."""
    position_axes: int = 1
    image_outputs: tuple[str, ...] = ("pixels",)

    @property
    def grammar(self) -> Grammar:
        """Text, and pictures of `image_len` ids if it draws."""
        ids = np.arange(self.c.vocab)
        image = (ids >= FIRST_IMAGE) & (ids < FIRST_IMAGE + self.vqgan.codes)
        return Grammar(
            is_image=jnp.asarray(image),
            is_text=jnp.asarray(self.renderer.is_text(self.c.vocab)),
            boi=self.renderer.boi,
            eoi=self.renderer.eoi,
            eos=(EOS,),
            image_len=self.vqgan.image_len if self.draws else 0,
        )

    def init(self, key: jax.Array) -> Variables:
        """Random weights: {"params": {"decoder", "vqgan"}, "lora": {"decoder"}}."""
        words, pictures, adapters = jax.random.split(key, 3)
        ones = jnp.ones((1, 1), bool)
        batch = Batch(jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1, 1), jnp.int32), ones, ones)
        rngs = {"params": words, "lora": adapters}
        variables = Decoder(self.c).init(rngs, batch, method="everything")
        side = self.vqgan.resolution
        vqgan = VQGAN(self.vqgan).init(pictures, jnp.zeros((1, side, side, 3)))
        tree = {"params": {"decoder": variables["params"], "vqgan": vqgan["params"]}}
        return tree | ({"lora": {"decoder": variables["lora"]}} if self.c.lora else {})

    def prepare(self, variables: Variables, batch: Batch) -> Batch:
        """Writes the ids of `batch.pixels` over their placeholders."""
        if batch.pixels is None:
            return batch
        images = rearrange(Pixels(*batch.pixels).images, "b m h w c -> (b m) h w c")
        return fill_image_ids(batch, self.tokenize(variables, images))

    def tokenize(self, variables: Variables, images: UInt8[Array, "N h w 3"]) -> Int[Array, "N K"]:
        """Preprocessed images -> picture ids."""
        pixels = from_pixels(images, scale=self.renderer.variant)
        codes = self._vqgan(variables, "encode", pixels)
        return codes.astype(jnp.int32) + FIRST_IMAGE

    def __call__(
        self,
        variables: Variables,
        batch: Batch,
        cache: Cache | None = None,
        *,
        dropout: jax.Array | None = None,
    ) -> tuple[Float[Array, "B T D"], Cache | None]:
        """Hidden states after the last norm."""
        rngs = None if dropout is None else {"dropout": dropout}
        return Decoder(self.c).apply(_words(variables), batch, cache, rngs=rngs)

    def unembed(self, variables: Variables, hidden: Float[Array, "*B D"]) -> Float[Array, "*B V"]:
        """float32 logits over all ids; the grammar masks, not the head."""
        return Decoder(self.c).apply(_words(variables), hidden, method="unembed")

    def init_cache(self, batch: int, slots: int) -> Cache:
        """An empty cache."""
        return decoder.init_cache(self.c, batch, slots)

    def paint(
        self, variables: Variables, ids: Int[Array, "N K"], key: jax.Array | None = None
    ) -> UInt8[Array, "N h w 3"]:
        """Picture ids -> pixels, by the VQGAN's decoder; no randomness. Foreign ids are clipped."""
        codes = jnp.clip(ids - FIRST_IMAGE, 0, self.vqgan.codes - 1)
        return to_pixels(self._vqgan(variables, "decode", codes))

    def _vqgan(self, variables: Variables, method: str, x: jax.Array) -> jax.Array:
        params = {"params": variables["params"]["vqgan"]}
        return VQGAN(self.vqgan).apply(params, x, method=method)


def _words(variables: Variables) -> Variables:
    """The decoder's part of every collection."""
    return {name: tree["decoder"] for name, tree in variables.items()}
