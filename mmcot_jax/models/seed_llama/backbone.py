"""SEED-LLaMA: a LLaMA over words and picture ids, and the SEED tokenizer that makes the ids.

Without the tokenizer it is any LLaMA, text alone. Axes: B rows, M images in a row, N pictures,
K ids of a picture, T time, D width, V vocabulary, E channels of an embedding.
Source: arXiv 2310.01218.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float, Int, UInt8

from mmcot_jax.models.seed_llama import tokenizer
from mmcot_jax.models.seed_llama.keys import SeedConfig
from mmcot_jax.models.seed_llama.render import SeedRenderer
from mmcot_jax.nn import decoder
from mmcot_jax.nn.decoder import Decoder, DecoderConfig
from mmcot_jax.types import Batch, Cache, Grammar, Pixels, Variables, fill_image_ids


@dataclasses.dataclass(frozen=True, eq=False)
class SeedLlama:
    """A `Backbone`; hashed by identity, so build it once a run."""

    c: DecoderConfig
    seed: SeedConfig | None
    """None: text alone."""
    renderer: SeedRenderer
    context: int
    draws: bool = True
    """Whether it may open an image; the textual twin may not."""
    position_axes: int = 1

    @property
    def image_outputs(self) -> tuple[str, ...]:
        """Of a drawn picture: its embedding."""
        return ("embedding",) if self.seed else ()

    @property
    def grammar(self) -> Grammar:
        """Text, and pictures of `queries` ids if it draws."""
        ids, r = np.arange(self.c.vocab), self.renderer
        image = (ids >= r.first_image) & (ids < r.first_image + r.codes)
        return Grammar(
            is_image=jnp.asarray(image),
            is_text=jnp.asarray(r.is_text(self.c.vocab)),
            boi=r.boi,
            eoi=r.eoi,
            eos=r.eos,
            image_len=r.image_len if self.draws else 0,
        )

    def init(self, key: jax.Array) -> Variables:
        """Random weights: {"params": {"decoder", "seed"}, "lora": {"decoder"}}."""
        words, pictures, adapters = jax.random.split(key, 3)
        ones = jnp.ones((1, 1), bool)
        batch = Batch(jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1, 1), jnp.int32), ones, ones)
        rngs = {"params": words, "lora": adapters}
        variables = Decoder(self.c).init(rngs, batch, method="everything")
        params = {"decoder": variables["params"]}
        if self.seed:
            pixels = jnp.zeros((1, self.seed.resolution, self.seed.resolution, 3))
            params["seed"] = tokenizer.SeedTokenizer(self.seed).init(pictures, pixels)["params"]
        lora = {"lora": {"decoder": variables["lora"]}} if self.c.lora else {}
        return {"params": params} | lora

    def prepare(self, variables: Variables, batch: Batch) -> Batch:
        """Writes the ids of `batch.pixels` over their placeholders."""
        if batch.pixels is None:
            return batch
        images = rearrange(Pixels(*batch.pixels).images, "b m h w c -> (b m) h w c")
        return fill_image_ids(batch, self.tokenize(variables, images))

    def tokenize(self, variables: Variables, images: UInt8[Array, "N h w 3"]) -> Int[Array, "N K"]:
        """Preprocessed images -> picture ids."""
        codes = self._seed(variables, "encode", tokenizer.from_pixels(images))
        return codes.astype(jnp.int32) + self.renderer.first_image

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

    def embed(self, variables: Variables, ids: Int[Array, "N K"]) -> Float[Array, "N E"]:
        """Picture ids -> the image embedding that a diffusion paints from. Foreign ids are clipped.

        float32, CLIP's image space; not of unit norm.
        """
        codes = jnp.clip(ids - self.renderer.first_image, 0, self.renderer.codes - 1)
        return self._seed(variables, "embed", codes)

    def paint(
        self, variables: Variables, ids: Int[Array, "N K"], key: jax.Array | None = None
    ) -> UInt8[Array, "N h w 3"]:
        """Pixels need a diffusion from the embedding, which is not here.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "SEED-LLaMA's pictures have no pixels: those are painted by unCLIP diffusion, which "
            "this package does not have; take their 1024-d embedding from `embed`"
        )

    def _seed(self, variables: Variables, method: str, x: jax.Array) -> jax.Array:
        if not self.seed:
            raise ValueError(
                "this LLaMA has no pictures (model.seed is None); give it the sizes and weights of "
                "a SEED tokenizer"
            )
        return tokenizer.run(self.seed, variables["params"]["seed"], method, x)


def _words(variables: Variables) -> Variables:
    """The decoder's part of every collection."""
    return {name: tree["decoder"] for name, tree in variables.items()}
