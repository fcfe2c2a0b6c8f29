"""Reads and writes Qwen2.5-VL's weights: Hugging Face's safetensors, one file or shards.

Parameters are {"decoder": ..., "vision": ...}.
"""

import pathlib
from typing import Any

from jaxtyping import PyTree

from mmcot_jax import hf, safetensors_io
from mmcot_jax.keytable import Table
from mmcot_jax.models.qwen25vl import keys
from mmcot_jax.models.qwen25vl.backbone import Qwen25VL


def load(backbone: Qwen25VL, folder: str | pathlib.Path, like: PyTree) -> PyTree:
    """Reads model.safetensors, or its index and shards, into parameters on their devices.

    Raises:
        ValueError: no weights there, or any tensors that do not fit, all listed.
    """
    tensors = safetensors_io.read_folder(folder)
    loaded = any(name.startswith(keys.LOADED["decoder"]) for name in tensors)
    names = _table(backbone, keys.LOADED if loaded else keys.SAVED)
    return hf.load(names, tensors, like, str(folder))


def table(backbone: Qwen25VL) -> Table:
    """Returns Hugging Face's names of the layers that adapters may be added to, as in memory."""
    return _table(backbone, keys.LOADED)


def save(
    backbone: Qwen25VL, params: PyTree, folder: str | pathlib.Path, dtype: Any = None
) -> list[pathlib.Path]:
    """Writes the released layout, which `load` and Hugging Face's class read back."""
    return hf.save(_table(backbone, keys.SAVED), params, folder, dtype)


def _table(backbone: Qwen25VL, prefixes: dict[str, str]) -> Table:
    c = backbone.c
    return keys.hf_table(tied=c.tied, qk_norm=c.qk_norm, prefixes=prefixes)
