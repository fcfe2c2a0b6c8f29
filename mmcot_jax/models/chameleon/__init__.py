"""Chameleon-7B and Anole-7B: text and images in one vocabulary."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import PyTree

from mmcot_jax import hf, hf_config, models
from mmcot_jax.models.chameleon import weights
from mmcot_jax.models.chameleon.backbone import Chameleon
from mmcot_jax.models.chameleon.config import VQGANConfig, hf_settings, read_params
from mmcot_jax.models.chameleon.export import describe as describe
from mmcot_jax.models.chameleon.render import FIRST_IMAGE, TOKENIZERS, ChameleonRenderer
from mmcot_jax.nn.decoder_only import decoder_config
from mmcot_jax.types import Variables


def build(c: Mapping[str, Any], *, learn: str = "chain", eos: bool = True) -> Chameleon:
    """Returns the backbone of a config's `model`, without weights.

    Raises:
        ValueError: no tokenizer at `c.tokenizer`, a vocabulary too small for it, or weights whose
            config.json or params.json describes another model.
    """
    vqgan = VQGANConfig(**c["vqgan"]).check()
    tokenizer = hf.read_tokenizer(
        models.resolve(c["tokenizer"] or c["weights"], __file__, not c["tokenizer"]),
        "give the file, or the folder that Anole's or Chameleon's release was unpacked to",
        TOKENIZERS,
    )
    decoder = decoder_config(c, qk_norm=True)
    if decoder.vocab < max(tokenizer.get_vocab_size(), FIRST_IMAGE + vqgan.codes + 2):
        raise ValueError(
            f"model.decoder.vocab is {decoder.vocab}; the tokenizer has "
            f"{tokenizer.get_vocab_size()} ids and images need {FIRST_IMAGE + vqgan.codes + 2}"
        )
    renderer = ChameleonRenderer(
        tokenizer, vqgan.codes, vqgan.image_len, vqgan.resolution, c["preprocess"], learn, eos
    )
    settings = hf_settings(decoder, vqgan)
    models.check_config_json(c["weights"], settings, __file__, original=_original_params)
    return Chameleon(decoder, vqgan, renderer, c["context"], c["draws"])


def _original_params(folder: pathlib.Path) -> dict[str, Any] | None:
    """Reads params.json beside the original release's weights, if they are in the folder."""
    original = weights.find_original(folder)
    path = original.with_name("params.json") if original else None
    return read_params(hf_config.read_json(path)) if path and path.is_file() else None


def load(backbone: Chameleon, c: Mapping[str, Any], key: jax.Array, mesh: Mesh) -> Variables:
    """Returns the weights of `c.weights`, or random ones, on their shards.

    `c.vqgan_weights` is a VQGAN stored elsewhere; `c.adapter` is an adapter to start from.

    Raises:
        ValueError: files that are missing or do not fit, all faults listed.
    """

    def read(shapes: PyTree) -> dict[str, PyTree]:
        vqgan = models.resolve(c["vqgan_weights"], __file__) if c["vqgan_weights"] else None
        if c["weights"]:
            folder = models.resolve(c["weights"], __file__)
            return weights.load(backbone, folder, shapes, vqgan_file=vqgan)
        return weights.load_vqgan(backbone.vqgan, vqgan, shapes["vqgan"]) if vqgan else {}

    table = weights.table(backbone)
    return models.load_variables(backbone, c, key, mesh, table=table, read=read)


def picture_identity(c: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the image ids of a config's `model` depend on: the VQGAN and its sizes."""
    return {"weights": c["vqgan_weights"] or c["weights"], "vqgan": dict(c["vqgan"])}
