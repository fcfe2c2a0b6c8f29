"""Any image -> the square uint8 image that SEED takes. numpy and Pillow only."""

import numpy as np
from PIL import Image

from mmcot_jax.errors import check_choice
from mmcot_jax.nn.pixels import is_blank, to_pillow

VARIANTS = {
    "crop": Image.Resampling.BILINEAR,
    "square": Image.Resampling.BILINEAR,
    "square_bicubic": Image.Resampling.BICUBIC,
}
"""How an image becomes a square -> how it is resampled."""


def preprocess(image: Image.Image | np.ndarray, size: int, *, variant: str = "crop") -> np.ndarray:
    """Returns an image as a square: uint8 [size size 3]; an alpha channel is dropped.

    "crop" resizes the shorter side to `size` and takes the middle square (the study). "square" and
    "square_bicubic" resize both sides to `size`, whatever their ratio (SEED's training without its
    `keep_ratio`, and its released tokenizer).

    Raises:
        ValueError: an unknown variant, or an array that is not uint8 [H W], [H W 3] or [H W 4].
    """
    check_choice("model.preprocess", variant, VARIANTS)
    if is_blank(image):
        return np.broadcast_to(image[0, 0, 0], (size, size, 3))
    image = to_pillow(image).convert("RGB")
    # torchvision truncates the longer side to whole pixels, and rounds the crop's offset
    short, crop = min(image.size), variant == "crop"
    sides = [size if side == short or not crop else int(size * side / short) for side in image.size]
    image = image.resize(tuple(sides), VARIANTS[variant])
    left, top = (round((side - size) / 2) for side in sides)
    return np.asarray(image.crop((left, top, left + size, top + size)))
