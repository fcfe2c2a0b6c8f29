"""The pictures of questions, saved beside completions: each once per run, by its content."""

import concurrent.futures
import hashlib
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from mmcot_jax import files
from mmcot_jax.example import Example, Picture

FOLDER = "prompts"
"""In the folder of the completions."""
MOST_SHOWN = 1000
"""Questions of an evaluation set whose pictures are saved: 12,000 photographs are half a gigabyte.
"""
SIDE = 512
"""Longest side of a saved picture, in pixels; boxes are drawn by their share of the sides."""
_COLORS = 256  # drawn pictures have fewer, and JPEG blurs their edges
_QUALITY = 85
_THREADS = 16  # each file is synced to disk


def save(folder: pathlib.Path, examples: Sequence[Example]) -> list[tuple[str, ...]]:
    """Saves the pictures of questions into `folder`/prompts; returns each question's names.

    Names are relative to `folder`, and in the order of the pictures in the prompt. Several
    processes may save the same picture at once.
    """
    every = [[(_digest(pixels), pixels) for pixels in _pictures(x)] for x in examples]
    once = {digest: pixels for own in every for digest, pixels in own}
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        saved = pool.map(lambda item: _save(folder, *item), once.items())
        names = dict(zip(once, saved, strict=True))
    return [tuple(names[digest] for digest, _ in own) for own in every]


def _pictures(example: Example) -> Iterable[np.ndarray]:
    for segment in example.prompt:
        pixels = segment.pixels if isinstance(segment, Picture) else segment
        if isinstance(pixels, np.ndarray) and pixels.size:
            yield pixels


def _digest(pixels: np.ndarray) -> str:
    content = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=12)
    content.update(np.ascontiguousarray(pixels))
    return content.hexdigest()


def _save(folder: pathlib.Path, digest: str, pixels: np.ndarray) -> str:
    names = [f"{FOLDER}/{digest}{suffix}" for suffix in (".png", ".jpg")]
    for name in names:
        if (folder / name).is_file():
            return name
    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE))
    flat = picture.getcolors(_COLORS) is not None
    name = names[0] if flat else names[1]
    with files.atomic(folder / name) as file:
        if flat:
            picture.save(file, "PNG")
        else:
            picture.save(file, "JPEG", quality=_QUALITY)
    return name
