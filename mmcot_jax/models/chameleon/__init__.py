"""Chameleon-7B and Anole-7B: text and pictures in one vocabulary."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from mmcot_jax import hf
from mmcot_jax import mesh as meshes
from mmcot_jax.models.chameleon import weights
from mmcot_jax.models.chameleon.backbone import Chameleon
from mmcot_jax.models.chameleon.keys import vqgan_table
from mmcot_jax.models.chameleon.render import FIRST_IMAGE, ChameleonRenderer, read_tokenizer
from mmcot_jax.models.chameleon.vqgan_keys import VQGANConfig
from mmcot_jax.nn.decoder import DecoderConfig
from mmcot_jax.nn.linear import Lora
from mmcot_jax.types import Variables

PACKAGED = pathlib.Path(__file__).parent
"""`packaged:NAME` in a config is a file beside this one: what `tiny` needs."""


def build(c: Mapping[str, Any], *, learn: str = "chain", eos: bool = True) -> Chameleon:
    """A config's `model` -> the backbone, without weights.

    Raises:
        ValueError: no tokenizer at `c.tokenizer`, or a vocabulary that does not hold it.
    """
    vqgan = VQGANConfig(**c["vqgan"]).check()
    tokenizer = read_tokenizer(_path(c["tokenizer"] or c["weights"]))
    lora = Lora(**c["lora"]) if c["lora"]["rank"] else None
    decoder = DecoderConfig(**c["decoder"], lora=lora, qk_norm=True)
    if decoder.vocab < max(tokenizer.get_vocab_size(), FIRST_IMAGE + vqgan.codes + 2):
        raise ValueError(
            f"model.decoder.vocab is {decoder.vocab}; the tokenizer has "
            f"{tokenizer.get_vocab_size()} ids and pictures need {FIRST_IMAGE + vqgan.codes + 2}"
        )
    renderer = ChameleonRenderer(
        tokenizer, vqgan.codes, vqgan.image_len, vqgan.resolution, c["preprocess"], learn, eos
    )
    return Chameleon(decoder, vqgan, renderer, c["context"], c["draws"])


def load(backbone: Chameleon, c: Mapping[str, Any], key: jax.Array, mesh: Mesh) -> Variables:
    """Weights on their shards: from `c.weights`, or random where that is empty.

    The adapters are always new. `c.vqgan_weights` names a VQGAN of its own.

    Raises:
        ValueError: files that are not there or do not fit, all faults listed.
    """
    like = meshes.shapes(jax.eval_shape(backbone.init, key), mesh)
    vqgan_file = _path(c["vqgan_weights"]) if c["vqgan_weights"] else None
    if not c["weights"]:
        variables = jax.jit(backbone.init, out_shardings=_shardings(like))(key)
        if vqgan_file:
            table, wanted = vqgan_table(backbone.vqgan), {"vqgan": like["params"]["vqgan"]}
            variables["params"] |= hf.load(table, vqgan_file, wanted)
        return variables
    decoder = backbone.c
    params = weights.load(
        _path(c["weights"]), like["params"], backbone.vqgan, decoder.heads, decoder.kv_heads,
        vqgan_file=vqgan_file,
    )  # fmt: skip
    adapters = {name: tree for name, tree in like.items() if name != "params"}
    fresh = jax.jit(
        lambda key: {name: backbone.init(key)[name] for name in adapters},
        out_shardings=_shardings(adapters),
    )
    return {"params": params} | fresh(key)


def _shardings(like):
    return jax.tree.map(lambda x: x.sharding, like)


def _path(name: str) -> pathlib.Path:
    head, _, tail = name.partition("packaged:")
    return pathlib.Path(name) if head or not tail else PACKAGED / tail
