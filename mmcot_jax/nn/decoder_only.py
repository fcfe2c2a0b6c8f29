"""Base classes of backbones: a decoder-only language model, with or without ids for images.

Axes: B rows, M images in a row, N images, K ids of an image, T time, D width, V vocabulary.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float, Int, UInt8

from mmcot_jax import options
from mmcot_jax.nn import decoder
from mmcot_jax.nn.decoder import Decoder, DecoderConfig
from mmcot_jax.nn.linear import Lora
from mmcot_jax.types import Batch, Cache, Grammar, Pixels, SharedPrompt, Variables, fill_image_ids


def decoder_config(c: Mapping[str, Any], **backbone_fields: Any) -> DecoderConfig:
    """Returns the decoder of a config's `model`; its backbone sets `backbone_fields`.

    Raises:
        ValueError: an unknown `remat_policy` or layer, sizes that do not fit, or an adapter on a
            tied head.
    """
    lora = Lora(**c["lora"]) if c["lora"]["rank"] else None
    if lora:
        lora = lora._replace(targets=options.lora_targets(lora.targets))
    return DecoderConfig(**c["decoder"], **backbone_fields, lora=lora).check()


def decoder_variables(variables: Variables) -> Variables:
    """Returns the "decoder" part of every collection."""
    return {collection: parts["decoder"] for collection, parts in variables.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class DecoderOnly:
    """Base class of a `Backbone`. Hashed by identity, so build it once per run.

    Variables: {"params": {"decoder": ..., one entry per tower}, "lora": {"decoder": ...}}.
    """

    c: DecoderConfig
    position_axes: ClassVar[int] = 1
    image_outputs: ClassVar[tuple[str, ...]] = ()

    def init(self, key: jax.Array) -> Variables:
        """Returns random weights, with adapters if the config has them."""
        words, towers, adapters = jax.random.split(key, 3)
        ones = jnp.ones((1, 1), bool)
        positions = jnp.zeros((self.position_axes, 1, 1), jnp.int32)
        batch = Batch(jnp.zeros((1, 1), jnp.int32), positions, ones, ones)
        rngs = {"params": words, "lora": adapters}
        variables = Decoder(self.c).init(rngs, batch, method="init_all")
        params = {"decoder": variables["params"], **self.init_towers(towers)}
        lora = {"lora": {"decoder": variables["lora"]}} if self.c.lora else {}
        return {"params": params, **lora}

    def init_towers(self, key: jax.Array) -> dict[str, Any]:
        """Returns random parameters of everything but the decoder, by name."""
        return {}

    def prepare(self, variables: Variables, batch: Batch) -> Batch:
        """Returns the batch as it is: text needs no preparation."""
        return batch

    def tokenize(self, variables: Variables, images: UInt8[Array, "N h w 3"]) -> Int[Array, "N K"]:
        """Refuses: this backbone has no ids for images.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"{type(self).__name__} has no ids for images; give rows of its own renderer to "
            "`prepare`"
        )

    def __call__(
        self,
        variables: Variables,
        batch: Batch,
        cache: Cache | None = None,
        *,
        window: int | None = None,
        dropout: jax.Array | None = None,
        shared: SharedPrompt | None = None,
    ) -> tuple[Float[Array, "B T D"], Cache | None]:
        """Returns hidden states after the last norm, and the cache with the batch written."""
        batch = self.fill_embeds(variables, batch)
        rngs = None if dropout is None else {"dropout": dropout}
        decoder = decoder_variables(variables)
        options = {"window": window, "shared": shared}
        return Decoder(self.c).apply(decoder, batch, cache, **options, rngs=rngs)

    def fill_embeds(self, variables: Variables, batch: Batch) -> Batch:
        """Returns the batch with `embeds` of all its tokens, or of none."""
        return batch

    def unembed(self, variables: Variables, hidden: Float[Array, "*B D"]) -> Float[Array, "*B V"]:
        """Returns float32 logits over all ids; the grammar masks, not the head."""
        return Decoder(self.c).apply(decoder_variables(variables), hidden, method="unembed")

    def init_cache(self, batch: int, slots: int, prompts: Cache | None = None) -> Cache:
        """Returns an empty cache, for rows that continue the N `prompts`, batch / N each."""
        return decoder.init_cache(self.c, batch, slots, prompts)

    def paint(
        self, variables: Variables, ids: Int[Array, "N K"], keys: jax.Array | None = None
    ) -> UInt8[Array, "N h w 3"]:
        """Refuses: this backbone makes no pixels.

        Raises:
            ValueError: always.
        """
        made = f"only their {', '.join(self.image_outputs)}" if self.image_outputs else "no images"
        raise ValueError(f"{type(self).__name__} makes {made}; do not request pixels of it")


class ImageIdDecoder(DecoderOnly):
    """Base class of a backbone that reads and writes images as ids of its vocabulary.

    Its renderer has `first_image`, `codes`, `image_len`, `boi`, `eoi` and `eos_ids`. `draws` is
    False for the textual twin, which may not begin an image.
    """

    renderer: Any
    draws: bool

    @property
    def grammar(self) -> Grammar:
        """Text, and images of `image_len` ids if it draws."""
        ids, r = np.arange(self.c.vocab), self.renderer
        image = (ids >= r.first_image) & (ids < r.first_image + r.codes)
        return Grammar(
            is_image=jnp.asarray(image),
            is_text=jnp.asarray(r.is_text(self.c.vocab)),
            boi=r.boi,
            eoi=r.eoi,
            eos=r.eos_ids,
            image_len=r.image_len if self.draws else 0,
        )

    def prepare(self, variables: Variables, batch: Batch) -> Batch:
        """Writes the ids of `batch.pixels` over their placeholders."""
        if batch.pixels is None:
            return batch
        images = rearrange(Pixels(*batch.pixels).images, "b m h w c -> (b m) h w c")
        return fill_image_ids(batch, self.tokenize(variables, images))

    def ids_to_codes(self, ids: Int[Array, "N K"]) -> Int[Array, "N K"]:
        """Image ids -> codes of the image tokenizer; other ids are clipped."""
        r = self.renderer
        return jnp.clip(ids - r.first_image, 0, r.codes - 1)
