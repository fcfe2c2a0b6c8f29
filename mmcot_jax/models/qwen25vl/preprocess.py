"""Any image -> whole cells, in the windows that the vision tower takes. numpy and Pillow only.

Axes: W windows, K cells of a window, T time, h w pixels, s pixels along a cell.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from einops import rearrange
from PIL import Image

from mmcot_jax.boxes import smart_resize
from mmcot_jax.errors import check_choice
from mmcot_jax.example import Windows
from mmcot_jax.nn.pixels import is_blank, on_white, to_pillow

VARIANTS = ("processor", "utils")
"""transformers' processor refuses an image thinner than a cell; qwen_vl_utils widens it."""


def preprocess(
    image: Image.Image | np.ndarray,
    *,
    min_pixels: int,
    max_pixels: int,
    factor: int = 28,
    variant: str = "processor",
) -> np.ndarray:
    """Returns an image on white, resized (bicubic) to whole cells: uint8 [h w 3].

    Raises:
        ValueError: an unknown variant, no image, one thinner than `factor` ("utils" widens it), or
            one whose sides are more than 200 to 1.
    """
    check_choice("model.preprocess", variant, VARIANTS)
    picture = None if is_blank(image) else on_white(to_pillow(image))
    width, height = picture.size if picture else image.shape[1::-1]
    if variant == "processor" and min(height, width) < factor:
        raise ValueError(
            f"an image of {height} x {width} pixels is thinner than {factor}; leave it out, or "
            "widen it with model.preprocess=utils"
        )
    height, width = smart_resize(
        height,
        width,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        multiple=factor,
        widen=variant == "utils",
    )
    if picture is None:
        return np.broadcast_to(image[0, 0, 0], (height, width, 3))
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))


def to_windows(images: Sequence[np.ndarray], starts: Sequence[int], length: int, c: int, s: int):
    """Returns the `Windows` of a row of `length` tokens, or None without images.

    `images` are preprocessed, `starts` their first placeholders; a window is c x c cells of s x s
    pixels. Windows, and the cells in them, are in raster order, as the placeholders are; windows at
    an image's lower and right edge may extend past it.
    """
    if not images:
        return None
    source = np.full(length, -1, np.int32)
    cells, at, owner = [], [], []
    for number, (image, start) in enumerate(zip(images, starts, strict=True)):
        h, w = image.shape[0] // s, image.shape[1] // s
        down, across = -(-h // c), -(-w // c)
        cells.append(_cells(image, down, across, c, s))
        places, order = _layout(h, w, c)
        at.append(places)
        source[start : start + h * w] = len(owner) * c * c + order
        owner += [number] * (down * across)
    return Windows(
        cells[0] if len(cells) == 1 else np.concatenate(cells),
        np.concatenate(at),
        np.array(owner, np.int32),
        source,
    )


@lru_cache(maxsize=256)  # photographs have few sizes; a layout of 100 x 100 cells is 0.2 MB
def _layout(h: int, w: int, c: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns `at` of an image of h x w cells, int32 [W K 2], and its placeholders' cells, [h w].

    A cell is its index over W K.
    """
    down, across = -(-h // c), -(-w // c)
    places = np.stack(np.indices((down * c, across * c), np.int32), axis=-1)
    places[(places >= (h, w)).any(axis=-1)] = -1
    at = rearrange(places, "(i a) (j b) n -> (i j) (a b) n", a=c, b=c)
    row, column = at.reshape(-1, 2).T
    inside = np.flatnonzero(row >= 0)
    order = np.empty(h * w, np.int32)
    order[row[inside] * w + column[inside]] = inside
    return at, order


def _cells(image: np.ndarray, down: int, across: int, c: int, s: int) -> np.ndarray:
    """Returns the pixels of an image's windows, uint8 [W K s s 3]; black past its edges."""
    if is_blank(image):
        return np.broadcast_to(image[0, 0, 0], (down * across, c * c, s, s, 3))
    height, width, _ = image.shape
    picture = np.pad(image, [(0, down * c * s - height), (0, across * c * s - width), (0, 0)])
    return rearrange(picture, "(i a y) (j b x) c -> (i j) (a b) y x c", a=c, b=c, y=s, x=s)
