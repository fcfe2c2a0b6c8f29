"""Any image -> the square uint8 picture that SEED reads. numpy and Pillow only."""

import numpy as np
from PIL import Image

VARIANTS = {
    "crop": Image.Resampling.BILINEAR,
    "square": Image.Resampling.BILINEAR,
    "square_bicubic": Image.Resampling.BICUBIC,
}
"""How a picture is resampled, by the way it becomes a square."""


def preprocess(image: Image.Image | np.ndarray, size: int, *, variant: str = "crop") -> np.ndarray:
    """An image at `size` x `size` pixels: uint8 [size size 3]; an alpha channel is dropped.

    "crop": the shorter side becomes `size`, then the middle square is cut out (the study).
    "square" and "square_bicubic": both sides become `size`, whatever their ratio (SEED's training
    without its `keep_ratio`, and its released tokenizer).

    Raises:
        ValueError: an unknown variant, or an array that is not uint8 [H W], [H W 3] or [H W 4].
    """
    if variant not in VARIANTS:
        known = ", ".join(VARIANTS)
        raise ValueError(f"model.preprocess is {variant!r}; choose from {known}")
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not (image.ndim == 2 or image.shape[2:] in [(3,), (4,)]):
            raise ValueError(
                f"an image is {image.dtype} {list(image.shape)}; give uint8 [H W], [H W 3] or "
                "[H W 4]"
            )
        image = Image.fromarray(image)
    picture = image.convert("RGB")
    # torchvision cuts the longer side to whole pixels, and rounds the crop's offset
    short, crop = min(picture.size), variant == "crop"
    sides = [size if side == short or not crop else int(size * side / short)
             for side in picture.size]  # fmt: skip
    if list(picture.size) != sides:
        picture = picture.resize(tuple(sides), VARIANTS[variant])
    left, top = (round((side - size) / 2) for side in sides)
    return np.asarray(picture.crop((left, top, left + size, top + size)))
