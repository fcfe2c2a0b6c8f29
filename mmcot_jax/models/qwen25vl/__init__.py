"""Qwen2.5-VL, 3B and 7B: images of any size in, words out."""

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import PyTree

from mmcot_jax import hf, models
from mmcot_jax.models.qwen25vl import weights
from mmcot_jax.models.qwen25vl.backbone import Qwen25VL
from mmcot_jax.models.qwen25vl.config import VisionConfig, hf_settings, processor_settings
from mmcot_jax.models.qwen25vl.export import describe as describe
from mmcot_jax.models.qwen25vl.render import Qwen25VLRenderer
from mmcot_jax.nn.decoder_only import decoder_config
from mmcot_jax.types import Variables


def build(c: Mapping[str, Any], *, learn: str = "chain", eos: bool = True) -> Qwen25VL:
    """Returns the backbone of a config's `model`, without weights.

    `c.decoder` and `c.vision` are sizes (`config.SIZES` has the released ones).

    Raises:
        ValueError: no tokenizer at `c.tokenizer`, a vocabulary too small for it, sizes that do not
            fit one another, or weights whose config.json describes another model.
    """
    vision = VisionConfig(**c["vision"]).check()
    tokenizer = hf.read_tokenizer(
        models.resolve(c["tokenizer"] or c["weights"], __file__, not c["tokenizer"]),
        "give the file, or the folder of Qwen2.5-VL's release",
    )
    decoder = decoder_config(c, qkv_bias=True)
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    if decoder.vocab < largest:
        raise ValueError(
            f"model.decoder.vocab is {decoder.vocab}; the tokenizer has {largest} ids: give that "
            "many or more"
        )
    if sum(decoder.rope_sections) * 2 != decoder.channels or len(decoder.rope_sections) != 3:
        raise ValueError(
            f"model.decoder.rope_sections is {decoder.rope_sections}; give three numbers for "
            f"frame, row and column whose sum is {decoder.channels // 2}, half a head's channels"
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
    settings = hf_settings(decoder, vision, renderer.ids)
    models.check_config_json(c["weights"], settings, __file__)
    models.check_config_json(
        c["weights"], processor_settings(vision), __file__, file="preprocessor_config.json"
    )
    return Qwen25VL(decoder, vision, renderer, c["context"])


def load(backbone: Qwen25VL, c: Mapping[str, Any], key: jax.Array, mesh: Mesh) -> Variables:
    """Returns the weights of `c.weights`, or random ones, on their shards.

    `c.adapter` is an adapter to start from.

    Raises:
        ValueError: files that are missing or do not fit, all faults listed.
    """

    def read(shapes: PyTree) -> dict[str, PyTree]:
        if not c["weights"]:
            return {}
        return weights.load(backbone, models.resolve(c["weights"], __file__), shapes)

    table = weights.table(backbone)
    return models.load_variables(backbone, c, key, mesh, table=table, read=read)


def picture_identity(c: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what image inputs of a config's `model` depend on: its weights; there are no ids."""
    return {"weights": c["weights"]}
