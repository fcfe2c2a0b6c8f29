"""A tiny SEED-LLaMA with random weights; the fixture `seed_llama` of conftest.py."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, pre_tokenizers
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel

from mmcot_jax.models.seed_llama.backbone import SeedLlama
from mmcot_jax.models.seed_llama.keys import SeedConfig
from mmcot_jax.models.seed_llama.render import SeedRenderer, with_pictures
from mmcot_jax.nn.decoder import DecoderConfig
from mmcot_jax.nn.linear import Lora

SEED = SeedConfig(
    resolution=4, patch=2, vit_width=8, vit_layers=2, vit_heads=2, vit_mlp=12, queries=3, width=8,
    layers=2, heads=2, mlp=12, codes=12, code_width=4, image_layers=1, image_heads=2, down=(6, 4),
    embedding=5,
)  # fmt: skip


class Tiny(NamedTuple):
    """A backbone and its weights."""

    backbone: Any
    variables: dict

    def variant(self, **fields) -> Any:
        """The backbone with other fields of its decoder."""
        return dataclasses.replace(self.backbone, c=self.backbone.c._replace(**fields))


def make() -> Tiny:
    """A random SEED-LLaMA that draws pictures of 3 codes.

    36 ids: 0 1 2 marks, 3..12 the words a..j, 13..24 codes, 25 <img>, 26 </img>, 27..35 nobody's.
    """
    vocab = {token: id for id, token in enumerate(["<unk>", "<s>", "</s>", *"abcdefghij"])}
    tokenizer = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = Fuse()
    tokenizer.add_special_tokens(
        [AddedToken(t, normalized=False) for t in ("<unk>", "<s>", "</s>")]
    )
    renderer = SeedRenderer(
        with_pictures(tokenizer, SEED.codes), SEED.codes, SEED.queries, SEED.resolution
    )
    every = ("q", "k", "v", "o", "gate", "up", "down", "head")
    decoder = DecoderConfig(
        vocab=36, width=32, layers=2, heads=4, kv_heads=2, mlp=48, eps=1e-6,
        lora=Lora(rank=4, alpha=8.0, targets=every), remat=False,
    )  # fmt: skip
    backbone = SeedLlama(decoder, SEED, renderer, context=64)
    random = np.random.default_rng(0)

    def draw(path, x):  # louder than at initialisation: logits differ by nats, adapters are not 0
        about = float(path[-1].key == "scale")
        return jnp.asarray(about + 0.2 * random.standard_normal(x.shape), x.dtype)

    shapes = jax.eval_shape(backbone.init, jax.random.key(0))
    return Tiny(backbone, jax.tree.map_with_path(draw, shapes))
