"""Reads and writes SEED-LLaMA's weights, or a LLaMA's alone (Hugging Face's layout or GGUF).

Parameters are {"decoder": ..., "seed": ...}, without "seed" where there are no images.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import PyTree

from mmcot_jax import hf, torch_io
from mmcot_jax.keytable import Table
from mmcot_jax.models.seed_llama import gguf, keys
from mmcot_jax.models.seed_llama.backbone import SeedLlama
from mmcot_jax.models.seed_llama.config import SeedConfig

SEED_FILE = "seed_tokenizer.safetensors"
"""Our file: the whole image tokenizer under its own class's names."""
QUANTIZER, VIT = "seed_quantizer.pt", "eva_vit_g.pth"
"""The originals: SEED's release, and LAVIS's ViT, which SEED's release leaves out."""


def load_decoder(backbone: SeedLlama, source: str | pathlib.Path, like: PyTree) -> PyTree:
    """Reads Hugging Face's folder, or a GGUF file, into parameters on their devices.

    Raises:
        ValueError: no weights, or any tensors that do not fit, all listed.
    """
    c = backbone.c
    file = gguf.find(str(source))
    if file is None:
        return hf.load(table(backbone), source, {"decoder": like})["decoder"]
    names = keys.gguf_table(c.heads, c.kv_heads, c.tied)
    return hf.load(names, gguf.read(file).tensors(), {"decoder": like}, str(file))["decoder"]


def load_seed(c: SeedConfig, source: str | pathlib.Path, like: PyTree) -> PyTree:
    """Reads an image tokenizer into parameters on their devices.

    `source` is a safetensors file or a folder: with our seed_tokenizer.safetensors, or with SEED's
    seed_quantizer.pt and LAVIS's eva_vit_g.pth.

    Raises:
        ValueError: a file that is missing, or any tensors that do not fit, all listed.
    """
    source = pathlib.Path(source)
    file = source / SEED_FILE if source.is_dir() else source
    tensors = hf.read_file(file) if file.is_file() else _originals(source)
    return hf.load(keys.seed_table(c), tensors, {"seed": like}, str(source))["seed"]


def _originals(folder: pathlib.Path) -> Mapping[str, np.ndarray]:
    absent = [name for name in (QUANTIZER, VIT) if not (folder / name).is_file()]
    if absent:
        raise ValueError(
            f"no {' and no '.join(absent)} in {folder}: an image tokenizer is {SEED_FILE}, or "
            f"{QUANTIZER} of seed-tokenizer-2 beside {VIT} of LAVIS's BLIP-2"
        )
    tensors = torch_io.read(folder / QUANTIZER)
    vit = torch_io.read(folder / VIT)
    tensors = {n: x for n, x in tensors.items() if not n.startswith(keys.VIT_PREFIX)}
    tensors |= {keys.VIT_PREFIX + name: x for name, x in vit.items()}
    return {name: tensors[name] for name in sorted(keys.used(tensors))}


def table(backbone: SeedLlama) -> Table:
    """Returns Hugging Face's names of the layers that adapters may be added to."""
    return keys.llama_table(backbone.c.tied, backbone.c.qk_norm)


def save(
    backbone: SeedLlama, params: PyTree, folder: str | pathlib.Path, dtype: Any = None
) -> list[pathlib.Path]:
    """Writes Hugging Face's layout, and seed_tokenizer.safetensors beside it.

    `load_decoder` and `load_seed` read them back. Returns the files written.
    """
    files = hf.save(table(backbone), {"decoder": params["decoder"]}, folder, dtype)
    if backbone.seed is None:
        return files
    file = pathlib.Path(folder) / SEED_FILE
    # uncast: rounded weights would give some images other codes
    hf.save_file(keys.seed_table(backbone.seed), {"seed": params["seed"]}, file)
    return [*files, file]
