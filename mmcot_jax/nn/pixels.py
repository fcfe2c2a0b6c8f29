"""Images as backbones' preprocessing takes them. numpy and Pillow only, no jax."""

import numpy as np
from PIL import Image

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's normalisation of red, green and blue between 0 and 1."""


def to_pillow(image: Image.Image | np.ndarray) -> Image.Image:
    """Returns an image as Pillow's.

    Raises:
        ValueError: an array that is not uint8 [H W], [H W 3] or [H W 4].
    """
    if isinstance(image, Image.Image):
        return image
    if image.dtype != np.uint8 or not (image.ndim == 2 or image.shape[2:] in [(3,), (4,)]):
        raise ValueError(
            f"an image is {image.dtype} {list(image.shape)}; give uint8 [H W], [H W 3] or [H W 4]"
        )
    return Image.fromarray(image)


def is_blank(image: Image.Image | np.ndarray) -> bool:
    """Returns whether an array is one value broadcast to an image, of which only the size counts.

    Resizing it is a broadcast to another size.
    """
    return isinstance(image, np.ndarray) and image.dtype == np.uint8 and not any(image.strides)


def has_alpha(image: Image.Image) -> bool:
    """Returns whether some of an image may be transparent."""
    return "A" in image.getbands() or "transparency" in image.info


def on_white(image: Image.Image) -> Image.Image:
    """Returns an image as RGB, transparent pixels blended with white."""
    if not has_alpha(image):
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")
