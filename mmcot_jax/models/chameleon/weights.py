"""Reads and writes Chameleon's weights, in Hugging Face's layout or (reading) the original's.

Parameters are {"decoder": ..., "vqgan": ...}.
"""

import pathlib
from typing import Any

import numpy as np
from jaxtyping import PyTree

from mmcot_jax import hf
from mmcot_jax.keytable import Table
from mmcot_jax.models.chameleon import keys
from mmcot_jax.models.chameleon.backbone import Chameleon
from mmcot_jax.models.chameleon.config import VQGANConfig

VQGAN_FILES = ("vqgan.safetensors", "vqgan.ckpt", "tokenizer/vqgan.ckpt")


def load(
    backbone: Chameleon,
    folder: str | pathlib.Path,
    like: PyTree,
    vqgan_file: str | pathlib.Path | None = None,
) -> PyTree:
    """Reads a folder of weights into parameters on their devices.

    The folder is Hugging Face's (as `hf.read_folder` reads it, and beside it vqgan.safetensors
    or vqgan.ckpt, since Hugging Face's port has no VQGAN decoder) or the original's
    (models/7b/consolidated.pth, tokenizer/vqgan.ckpt). `vqgan_file` is a VQGAN stored elsewhere.

    Raises:
        ValueError: no weights, no VQGAN decoder, or any tensors that do not fit, all listed.
    """
    folder, c = pathlib.Path(folder), backbone.c
    original = find_original(folder)
    if original is None:
        tensors = hf.read_folder(folder)
        names = keys.hf_table(backbone.vqgan, vqgan_decoder=True)
    else:
        tensors = hf.read_file(original)
        names = keys.original_table(backbone.vqgan, c.heads, c.kv_heads)
    path = pathlib.Path(vqgan_file) if vqgan_file else find_vqgan(folder)
    return hf.load(names, tensors | _vqgan(path, folder, tensors), like, str(folder))


def load_vqgan(c: VQGANConfig, file: str | pathlib.Path, like: PyTree) -> dict[str, PyTree]:
    """Reads a VQGAN of its own, as safetensors or vqgan.ckpt, into {"vqgan": ...}.

    Raises:
        ValueError: no such file, or any tensors that do not fit, all listed.
    """
    return hf.load(keys.vqgan_table(c), file, {"vqgan": like})


def find_original(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the decoder's pickle in a folder laid out as the original release, or None.

    Raises:
        ValueError: weights split over several files, as the 30B's are.
    """
    files = sorted({*folder.glob("consolidated*.pth"), *folder.glob("models/*/consolidated*.pth")})
    if len(files) > 1:
        names = ", ".join(str(file.relative_to(folder)) for file in files)
        raise ValueError(
            f"{folder} holds several originals ({names}); only one file (7B) is read, "
            "convert a split one to safetensors first"
        )
    return files[0] if files else None


def find_vqgan(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the VQGAN's file in a folder, or None."""
    return next((folder / name for name in VQGAN_FILES if (folder / name).is_file()), None)


def _vqgan(
    path: pathlib.Path | None, folder: pathlib.Path, tensors: hf.Tensors
) -> dict[str, np.ndarray]:
    if path is None:
        prefix = f"{keys.VQGAN_PREFIX}{keys.VQGAN_DECODER}."
        if any(name.startswith(prefix) for name in tensors):
            return {}
        raise ValueError(
            f"{folder} has no VQGAN decoder (Hugging Face's port leaves it out): put the original "
            "release's tokenizer/vqgan.ckpt there"
        )
    if not path.is_file():
        raise ValueError(f"no VQGAN at {path}: give the file vqgan.ckpt or vqgan.safetensors")
    return {keys.VQGAN_PREFIX + name: tensor for name, tensor in hf.read_file(path).items()}


def table(backbone: Chameleon) -> Table:
    """Returns Hugging Face's names of the layers that adapters may be added to."""
    return keys.hf_table(backbone.vqgan, vqgan_decoder=False)


def save(
    backbone: Chameleon, params: PyTree, folder: str | pathlib.Path, dtype: Any = None
) -> list[pathlib.Path]:
    """Writes Hugging Face's layout, and vqgan.safetensors with the VQGAN's decoder.

    `load` reads both back; Hugging Face's class reads the first. Returns the files written.
    """
    vqgan_file = pathlib.Path(folder) / "vqgan.safetensors"
    encoder = {name: x for name, x in params["vqgan"].items() if name != keys.VQGAN_DECODER}
    files = hf.save(table(backbone), {**params, "vqgan": encoder}, folder, dtype)
    # uncast: rounded weights would give some cells of an image other codes
    hf.save_file(keys.vqgan_table(backbone.vqgan), {"vqgan": params["vqgan"]}, vqgan_file)
    return [*files, vqgan_file]
