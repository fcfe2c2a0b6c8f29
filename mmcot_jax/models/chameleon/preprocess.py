"""Any image -> the square uint8 image that the VQGAN takes. numpy and Pillow only."""

import numpy as np
from PIL import Image

from mmcot_jax.errors import check_choice
from mmcot_jax.nn.pixels import has_alpha, is_blank, on_white, to_pillow

VARIANTS = ("native", "hf")


def preprocess(
    image: Image.Image | np.ndarray, size: int, *, variant: str = "native"
) -> np.ndarray:
    """Returns the middle square of an image, shorter side resized to `size`: uint8 [size size 3].

    Transparent pixels are blended with white. Resampling is Lanczos. "native" (the original
    release) rounds the longer side and truncates blended colours; "hf" (Hugging Face's processor)
    truncates the side and rounds the colours. Their scales to [-1, 1] differ too:
    `vqgan.from_pixels`.

    Raises:
        ValueError: an unknown variant, or an array that is not uint8 [H W], [H W 3] or [H W 4].
    """
    check_choice("model.preprocess", variant, VARIANTS)
    if is_blank(image):
        return np.broadcast_to(image[0, 0, 0], (size, size, 3))
    image = to_pillow(image)
    image = _on_white(image) if variant == "native" else on_white(image)
    whole = round if variant == "native" else int
    short = min(image.size)
    sides = [size if side == short else whole(size * side / short) for side in image.size]
    image = image.resize(tuple(sides), Image.Resampling.LANCZOS)
    left, top = ((side - size) // 2 for side in sides)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def _on_white(image: Image.Image) -> Image.Image:
    if not has_alpha(image):
        return image.convert("RGB")
    values = np.asarray(image.convert("RGBA"))
    alpha = values[..., 3:] / 255
    return Image.fromarray(((1 - alpha) * 255 + alpha * values[..., :3]).astype(np.uint8))
