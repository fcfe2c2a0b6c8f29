"""Images of any size -> CLIP's pixels, on the device, equal to Pillow's resampling bit for bit.

Pictures that a diffusion painted are on the device already. Axes: N images, h w pixels given,
H W pixels taken, S the resolution.
"""

import math
import pathlib
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from mmcot_jax import hf_config
from mmcot_jax.nn.pixels import CLIP_MEAN, CLIP_STD

BITS = 22
"""Pillow's weights are integers over 2 ** 22: a sum of them times 255 fits in an int32."""
BICUBIC = 3
"""Pillow's number of that filter, as in preprocessor_config.json."""


class PixelConfig(NamedTuple):
    """How an image becomes a square; the defaults are ViT-L/14's."""

    resolution: int = 224
    """Pixels of the shorter side after resizing, and of the square that is cut from the middle."""
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD


def read(folder: pathlib.Path, resolution: int) -> PixelConfig:
    """Returns a folder's preprocessor_config.json, or CLIP's values where it lacks the file.

    Raises:
        ValueError: values that are not of the form: bicubic to the tower's resolution, crop of the
            same size, three means and deviations.
    """
    found = hf_config.read(folder, "preprocessor_config.json") or {}
    path, named = folder / "preprocessor_config.json", {}
    size = found.get("size", resolution)
    crop = found.get("crop_size", resolution)
    named["size"] = size.get("shortest_edge") if isinstance(size, dict) else size
    named["crop_size"] = crop.get("height") if isinstance(crop, dict) else crop
    wanted = {"size": resolution, "crop_size": resolution}
    if isinstance(crop, dict):
        named["crop_size.width"], wanted["crop_size.width"] = crop.get("width"), resolution
    named["resample"], wanted["resample"] = found.get("resample", BICUBIC), BICUBIC
    for name in ("do_resize", "do_center_crop", "do_rescale", "do_normalize"):
        named[name], wanted[name] = found.get(name, True), True
    if wrong := [f"{n} {x!r}, fits {wanted[n]!r}" for n, x in named.items() if x != wanted[n]]:
        raise ValueError(f"{path} has {'; '.join(wrong)}; give the file of this CLIP")
    mean, std = (found.get(f"image_{n}", d) for n, d in (("mean", CLIP_MEAN), ("std", CLIP_STD)))
    for name, value in (("image_mean", mean), ("image_std", std)):
        numbers = isinstance(value, list | tuple) and all(isinstance(x, int | float) for x in value)
        if not numbers or len(value) != 3 or (name == "image_std" and min(value) <= 0):
            raise ValueError(f"{path} has {name} {value!r}; give three numbers")
    return PixelConfig(resolution, tuple(mean), tuple(std))


def preprocess(images: UInt8[Array, "N h w 3"], c: PixelConfig) -> Float[Array, "N S S 3"]:
    """Resizes the shorter side, cuts out the middle square, and normalises to float32."""
    x = resize_and_crop(images, c.resolution).astype(jnp.float32) / 255
    return (x - jnp.asarray(c.mean, jnp.float32)) / jnp.asarray(c.std, jnp.float32)


def resize_and_crop(images: UInt8[Array, "N h w 3"], size: int) -> UInt8[Array, "N S S 3"]:
    """Resizes the shorter side to `size`, bicubic, and cuts out the middle square."""
    height, width = images.shape[1:3]
    short = min(height, width)
    # the longer side is truncated to whole pixels, and the crop's offset too
    rows, columns = (size if side == short else size * side // short for side in (height, width))
    down, across = (
        _weights(old, new)[(new - size) // 2 :][:size]
        for old, new in ((height, rows), (width, columns))
    )
    x = _resampled("nhwc,Ww->nhWc", images, across)
    return _resampled("nhwc,Hh->nHwc", x, down)


def _resampled(axes: str, images: jax.Array, weights: np.ndarray) -> UInt8[Array, "N H W 3"]:
    """Applies integer weights; each pass rounds to whole levels, as Pillow's does."""
    total = jnp.einsum(axes, images.astype(jnp.int32), weights)
    return jnp.clip((total + (1 << (BITS - 1))) >> BITS, 0, 255).astype(jnp.uint8)


@lru_cache(maxsize=64)
def _weights(old: int, new: int) -> np.ndarray:
    """Returns int32 [new old]: the share that each given pixel has in each pixel taken.

    Bicubic with a = -0.5; where pixels become fewer, the filter is as much wider.
    """
    ratio = old / new
    stretch = max(ratio, 1.0)
    reach = 2.0 * stretch
    weights = np.zeros((new, old), np.int32)
    for i in range(new):
        centre = (i + 0.5) * ratio
        first = max(int(centre - reach + 0.5), 0)
        last = min(int(centre + reach + 0.5), old)
        own = [_bicubic((j - centre + 0.5) / stretch) for j in range(first, last)]
        total = math.fsum(own)
        for j, share in enumerate(own, first):
            weights[i, j] = int(math.copysign(0.5, share) + share / total * (1 << BITS))
    return weights


def _bicubic(x: float) -> float:
    x, a = abs(x), -0.5
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0
