"""Chameleon's weights in and out, whichever layout a folder has.

Parameters are `{"decoder": ..., "vqgan": ...}`.
"""

import pathlib
from typing import Any

import numpy as np
from jaxtyping import PyTree

from mmcot_jax import hf, safetensors_io
from mmcot_jax.keytable import Table
from mmcot_jax.models.chameleon import keys, originals
from mmcot_jax.models.chameleon.backbone import Chameleon
from mmcot_jax.models.chameleon.vqgan_keys import VQGANConfig


def load(
    folder: str | pathlib.Path,
    like: PyTree,
    vqgan: VQGANConfig,
    heads: int,
    kv_heads: int,
    vqgan_file: str | pathlib.Path | None = None,
) -> PyTree:
    """A folder of weights -> parameters on their devices.

    The folder is Hugging Face's (model.safetensors or its index, and beside it vqgan.safetensors
    or vqgan.ckpt, since Hugging Face's port has no VQGAN decoder) or the original's
    (models/7b/consolidated.pth, tokenizer/vqgan.ckpt). `vqgan_file` is one that lies elsewhere.

    Raises:
        ValueError: no weights, no VQGAN decoder, or any tensors that do not fit, all listed.
    """
    folder = pathlib.Path(folder)
    original = originals.find(folder)
    if original is None:
        tensors = safetensors_io.read_folder(folder)
        table = keys.hf_table(vqgan, paint=True)
    else:
        tensors = safetensors_io.read_pickle(original)
        table = keys.original_table(vqgan, heads, kv_heads)
    path = pathlib.Path(vqgan_file) if vqgan_file else originals.find_vqgan(folder)
    return hf.load(table, tensors | _vqgan(path, folder, tensors), like, str(folder))


def _vqgan(
    path: pathlib.Path | None, folder: pathlib.Path, tensors: hf.Tensors
) -> dict[str, np.ndarray]:
    if path is None:
        if any(name.startswith(f"{keys.VQGAN_PREFIX}{keys.PAINTER}.") for name in tensors):
            return {}
        raise ValueError(
            f"{folder} has no VQGAN decoder (Hugging Face's port leaves it out): put the original "
            "release's tokenizer/vqgan.ckpt there"
        )
    if not path.is_file():
        raise ValueError(f"no VQGAN at {path}: give the file vqgan.ckpt or vqgan.safetensors")
    read = safetensors_io.read if path.suffix == ".safetensors" else safetensors_io.read_pickle
    return {keys.VQGAN_PREFIX + name: tensor for name, tensor in read(path).items()}


def table(backbone: Chameleon) -> Table:
    """Hugging Face's names of what adapters may stand on."""
    return keys.hf_table(backbone.vqgan, paint=False)


def save(
    backbone: Chameleon, params: PyTree, folder: str | pathlib.Path, dtype: Any = None
) -> list[pathlib.Path]:
    """Parameters -> the Hugging Face layout, and vqgan.safetensors with the VQGAN's decoder.

    `load` reads both back; Hugging Face's class reads the first. Returns the files written.
    """
    vqgan_file = pathlib.Path(folder) / "vqgan.safetensors"
    seeing = {name: x for name, x in params["vqgan"].items() if name != keys.PAINTER}
    files = hf.save(table(backbone), {**params, "vqgan": seeing}, folder, dtype)
    # uncast: rounded weights would give some cells of a picture other codes
    hf.save_file(keys.vqgan_table(backbone.vqgan), {"vqgan": params["vqgan"]}, vqgan_file)
    return [*files, vqgan_file]
