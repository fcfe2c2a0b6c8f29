"""Tiny random backbones with adapters on every layer: the fixtures of conftest.py."""

import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from helpers import qwen_golden
from tokenizers import AddedToken, Regex, Tokenizer, pre_tokenizers
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel

from assets.make_chameleon_tokenizer import special
from mmcot_jax.models.chameleon.backbone import Chameleon
from mmcot_jax.models.chameleon.config import VQGANConfig
from mmcot_jax.models.chameleon.render import ChameleonRenderer
from mmcot_jax.models.seed_llama.backbone import SeedLlama
from mmcot_jax.models.seed_llama.config import SeedConfig
from mmcot_jax.models.seed_llama.render import SeedRenderer, with_pictures
from mmcot_jax.nn.decoder import DecoderConfig
from mmcot_jax.nn.linear import Lora

LORA = Lora(rank=4, alpha=8.0, targets=("q", "k", "v", "o", "gate", "up", "down", "head"))
DECODER = DecoderConfig(
    vocab=36, width=32, layers=2, heads=4, kv_heads=2, mlp=48, lora=LORA, remat=False
)
VQGAN = VQGANConfig(
    ch=4, ch_mult=(1, 2), num_res_blocks=1, z_channels=4, embed_dim=4, codes=12, resolution=4,
    groups=2,
)  # fmt: skip
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


def loud(shapes):
    """Random weights larger than at initialisation: logits differ by nats, adapters are not 0."""
    random = np.random.default_rng(0)

    def draw(path, x):
        about = float(path[-1].key == "scale")
        return jnp.asarray(about + 0.2 * random.standard_normal(x.shape), x.dtype)

    return jax.tree.map_with_path(draw, shapes)


def random(backbone) -> Tiny:
    """A backbone with loud weights."""
    return Tiny(backbone, loud(jax.eval_shape(backbone.init, jax.random.key(0))))


def letters(marks: list[str]) -> Tokenizer:
    """Marks, then the words a..j, one character each."""
    vocab = {token: id for id, token in enumerate([*marks, *"abcdefghij"])}
    tokenizer = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = Fuse()
    return tokenizer


def chameleon() -> Tiny:
    """A Chameleon that draws images of 2 x 2 codes.

    36 ids: 0 1 2 3 marks, 4..15 codes, 16 EOI, 17 BOI, 18..27 the words a..j, 28..35 nobody's.
    """
    c = DECODER._replace(qk_norm=True)
    return random(Chameleon(c, VQGAN, chameleon_renderer(), context=64))


def chameleon_renderer() -> ChameleonRenderer:
    """A renderer of 28 ids."""
    tokenizer = letters(special(VQGAN.codes))
    return ChameleonRenderer(tokenizer, VQGAN.codes, VQGAN.image_len, VQGAN.resolution)


def seed_llama() -> Tiny:
    """A SEED-LLaMA that draws images of 3 codes.

    36 ids: 0 1 2 marks, 3..12 the words a..j, 13..24 codes, 25 <img>, 26 </img>, 27..35 nobody's.
    """
    marks = ["<unk>", "<s>", "</s>"]
    tokenizer = letters(marks)
    tokenizer.add_special_tokens([AddedToken(mark, normalized=False) for mark in marks])
    tokenizer = with_pictures(tokenizer, SEED.codes)
    renderer = SeedRenderer(tokenizer, SEED.codes, SEED.queries, SEED.resolution)
    return random(SeedLlama(DECODER._replace(eps=1e-6), SEED, renderer, context=64))


def qwen() -> Tiny:
    """The Qwen2.5-VL of tests/golden/qwen25vl.npz, with loud adapters.

    64 ids: 0..55 the words w0 .. w55, 56 a placeholder, 58..62 marks; windows of 2 x 2 cells.
    """
    golden = qwen_golden.own()
    c = golden.backbone.c._replace(lora=LORA)
    backbone = dataclasses.replace(golden.backbone, c=c)
    lora = loud(jax.eval_shape(backbone.init, jax.random.key(0))["lora"])
    return Tiny(backbone, golden.variables | {"lora": lora})


FIXED = {
    "chameleon": ("qk_norm", "qkv_bias"),
    "seed_llama": ("qkv_bias",),
    "qwen25vl": ("qkv_bias",),
}
"""Fields of the decoder that a backbone decides, not its config."""


def config(name: str, backbone: Any, folder: pathlib.Path) -> dict[str, Any]:
    """A config's `model` that builds this backbone; its tokenizer is written to `folder`."""
    backbone.renderer.tokenizer.save(str(folder / "tokenizer.json"))
    decoder = backbone.c._asdict()
    lora = decoder.pop("lora")
    c = {
        "backbone": name,
        "weights": "",
        "adapter": "",
        "tokenizer": str(folder / "tokenizer.json"),
        "preprocess": backbone.renderer.variant,
        "context": backbone.context,
        "decoder": {field: x for field, x in decoder.items() if field not in FIXED[name]},
        "lora": lora._asdict() if lora else {"rank": 0},
    }
    if name == "chameleon":
        return c | {"vqgan": backbone.vqgan._asdict(), "vqgan_weights": "", "draws": True}
    if name == "seed_llama":
        seed = backbone.seed and backbone.seed._asdict()
        return c | {"seed": seed, "seed_weights": "", "draws": True}
    limits = {name: getattr(backbone.renderer, name) for name in ("min_pixels", "max_pixels")}
    return c | {"vision": backbone.vision._asdict(), "system": "", **limits}
