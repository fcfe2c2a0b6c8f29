"""Resizing on the device, equal to Pillow's bicubic resampling to the last bit.

Axes: N images, h w pixels given, H W pixels taken, S height and width of the square.
"""

import math
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

BITS = 22
"""Pillow's weights are integers over 2 ** 22: a sum of them times 255 fits in an int32."""


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
