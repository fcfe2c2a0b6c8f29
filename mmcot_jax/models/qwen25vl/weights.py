"""Reads and writes Qwen2.5-VL's weights in Hugging Face's layout, under names of both its ages.

Parameters are {"decoder": ..., "vision": ...}.
"""

import pathlib
from collections.abc import Iterable
from typing import Any

from jaxtyping import PyTree

from mmcot_jax import hf
from mmcot_jax.keytable import Table
from mmcot_jax.models.qwen25vl import keys
from mmcot_jax.models.qwen25vl.backbone import Qwen25VL


def load(backbone: Qwen25VL, folder: str | pathlib.Path, like: PyTree) -> PyTree:
    """Reads a folder, as `hf.read_folder`, into parameters on their devices.

    Raises:
        ValueError: no weights there, or any tensors that do not fit, all listed.
    """
    tensors = hf.read_folder(folder)
    prefixes = {part: _prefix(part, tensors) for part in keys.SAVED}
    return hf.load(_table(backbone, prefixes), tensors, like, str(folder))


def _prefix(part: str, names: Iterable[str]) -> str:
    loaded = any(name.startswith(keys.LOADED[part]) for name in names)
    return (keys.LOADED if loaded else keys.SAVED)[part]


def table(backbone: Qwen25VL) -> Table:
    """Returns Hugging Face's names of the layers that adapters may be added to, as in memory."""
    older = {keys.SAVED[part]: keys.LOADED[part] for part in keys.SAVED}
    return _table(backbone, keys.LOADED)._replace(older=older)


def save(
    backbone: Qwen25VL, params: PyTree, folder: str | pathlib.Path, dtype: Any = None
) -> list[pathlib.Path]:
    """Writes the released layout, which `load` and Hugging Face's class read back."""
    return hf.save(_table(backbone, keys.SAVED), params, folder, dtype)


def _table(backbone: Qwen25VL, prefixes: dict[str, str]) -> Table:
    c = backbone.c
    return keys.hf_table(tied=c.tied, qk_norm=c.qk_norm, prefixes=prefixes)
