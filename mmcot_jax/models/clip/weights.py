"""Reads a CLIP's released folder."""

import pathlib

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from mmcot_jax import hf
from mmcot_jax.models.clip import config, keys
from mmcot_jax.models.clip.config import ClipConfig
from mmcot_jax.models.clip.model import Clip

FILES = (*hf.WHOLE, "model.fp16.safetensors", "pytorch_model.fp16.bin")
"""Files of a folder's weights; the first that is there is read."""


def init(c: ClipConfig, key: jax.Array) -> PyTree:
    """Returns random weights."""
    pixels = jnp.zeros((1, c.size, c.size, 3))
    return Clip(c).init(key, pixels, jnp.zeros((1, c.positions), jnp.int32))["params"]


def load(c: ClipConfig, folder: pathlib.Path, like: PyTree) -> PyTree:
    """Reads all parameters onto their devices, from a folder or a file.

    Raises:
        ValueError: another model's folder, or tensors that do not fit, all listed.
    """
    if folder.is_dir():
        config.check_folder(c, folder)
    tensors = hf.read_folder(folder, FILES)
    return hf.load(keys.table(), tensors, {"clip": like}, str(folder))["clip"]
