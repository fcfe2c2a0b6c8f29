"""Any image -> the square uint8 picture that the VQGAN reads. numpy and Pillow only."""

import numpy as np
from PIL import Image

VARIANTS = ("native", "hf")


def preprocess(
    image: Image.Image | np.ndarray, size: int, *, variant: str = "native"
) -> np.ndarray:
    """The middle square of an image, shorter side resized to `size` pixels: uint8 [size size 3].

    What is transparent lies on white. Resampling is Lanczos. The two variants differ where the
    longer side is not whole: "native" (the original release) rounds it, "hf" (Hugging Face's
    processor) cuts it; and "native" truncates a blended colour where "hf" rounds it. Their scales
    to [-1, 1] differ too: `vqgan.from_pixels`.

    Raises:
        ValueError: an unknown variant, or an array that is not uint8 [H W], [H W 3] or [H W 4].
    """
    if variant not in VARIANTS:
        raise ValueError(f"preprocessing variant {variant!r} is not known; choose native or hf")
    picture = _on_white(_picture(image), variant)
    width, height = picture.size
    whole = round if variant == "native" else int
    short = min(width, height)
    sides = [size if side == short else whole(size * side / short) for side in (width, height)]
    if sides != [width, height]:
        picture = picture.resize(tuple(sides), Image.Resampling.LANCZOS)
    left, top = (sides[0] - size) // 2, (sides[1] - size) // 2
    return np.asarray(picture.crop((left, top, left + size, top + size)))


def _picture(image: Image.Image | np.ndarray) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if image.dtype != np.uint8 or not (image.ndim == 2 or image.shape[2:] in [(3,), (4,)]):
        raise ValueError(
            f"an image is {image.dtype} {list(image.shape)}; give uint8 [H W], [H W 3] or [H W 4]"
        )
    return Image.fromarray(image)


def _on_white(picture: Image.Image, variant: str) -> Image.Image:
    if not ("A" in picture.getbands() or "transparency" in picture.info):
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    if variant == "hf":
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    values = np.asarray(picture)
    alpha = values[..., 3:] / 255
    return Image.fromarray(((1 - alpha) * 255 + alpha * values[..., :3]).astype(np.uint8))
