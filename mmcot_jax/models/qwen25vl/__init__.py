"""Qwen2.5-VL, 3B and 7B: images of any size in, words out."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from mmcot_jax import mesh as meshes
from mmcot_jax.models.qwen25vl import weights
from mmcot_jax.models.qwen25vl.backbone import Qwen25VL
from mmcot_jax.models.qwen25vl.render import Qwen25VLRenderer, read_tokenizer
from mmcot_jax.models.qwen25vl.sizes import SIZES, VisionConfig
from mmcot_jax.nn.decoder import DecoderConfig
from mmcot_jax.nn.linear import Lora
from mmcot_jax.types import Variables

__all__ = ["SIZES", "build", "load", "weights"]
PACKAGED = pathlib.Path(__file__).parent
"""`packaged:NAME` in a config is a file beside this one: what `tiny` needs."""


def build(c: Mapping[str, Any], *, learn: str = "chain", eos: bool = True) -> Qwen25VL:
    """A config's `model` -> the backbone, without weights.

    `c.decoder` and `c.vision` are sizes (`SIZES` has the released ones).

    Raises:
        ValueError: no tokenizer at `c.tokenizer`, a vocabulary that does not hold it, sizes that
            do not fit one another, or an adapter on a tied head.
    """
    vision = VisionConfig(**c["vision"]).check()
    tokenizer = read_tokenizer(_path(c["tokenizer"] or c["weights"]))
    lora = Lora(**c["lora"]) if c["lora"]["rank"] else None
    decoder = DecoderConfig(**c["decoder"], lora=lora, qkv_bias=True)
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    if decoder.vocab < largest:
        raise ValueError(f"model.decoder.vocab is {decoder.vocab}; the tokenizer has {largest} ids")
    if sum(decoder.rope_sections) * 2 != decoder.channels or len(decoder.rope_sections) != 3:
        raise ValueError(
            f"model.decoder.rope_sections is {decoder.rope_sections}; give three numbers for "
            f"frame, row and column whose sum is {decoder.channels // 2}, half a head's channels"
        )
    if lora and decoder.tied and "head" in lora.targets:
        # merging would change the embedding too: another model than the one that was trained
        raise ValueError(
            "model.lora.targets has 'head', and this model's head is its embedding (tied); "
            "leave 'head' out"
        )
    renderer = Qwen25VLRenderer(
        tokenizer,
        vision,
        c["min_pixels"],
        c["max_pixels"],
        c["context"],
        variant=c["preprocess"],
        system=c["system"],
        learn=learn,
        eos=eos,
    )
    return Qwen25VL(decoder, vision, renderer, c["context"])


def load(backbone: Qwen25VL, c: Mapping[str, Any], key: jax.Array, mesh: Mesh) -> Variables:
    """Weights on their shards: from `c.weights`, or random where that is empty.

    The adapters are always new.

    Raises:
        ValueError: files that are not there or do not fit, all faults listed.
    """
    like = meshes.shapes(jax.eval_shape(backbone.init, key), mesh)
    if not c["weights"]:
        return jax.jit(backbone.init, out_shardings=_shardings(like))(key)
    params = weights.load(backbone, _path(c["weights"]), like["params"])
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
