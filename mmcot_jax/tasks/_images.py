"""Pictures in files and data sets: opened, checked and decoded, the same by every road. No jax.

A picture is what a viewer displays: its EXIF orientation applied, white where it is transparent,
its first frame, 8 bits a channel. Its size is that of the displayed picture.
"""

import io
import os
import re
import stat
import threading
import warnings
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmcot_jax.tasks import _schema as schema
from mmcot_jax.tasks._schema import BadRecord

Source = Path | bytes
"""A picture's file, or the content of one."""
FORMATS = (
    "JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "PCX", "SGI",
)  # fmt: skip
"""Formats that are read, by Pillow's names. Others start programs (EPS) or have no mark (TGA)."""
NO_IMAGE = "without an image"
"""Reason of a record whose cell of the `image` column is empty."""
MAX_PIXELS = 1 << 26
"""Default of the largest picture that is decoded, 67 million pixels: 200 MB as RGB."""
_PILLOW_MAX = 178_956_970  # above it Pillow refuses to open
_LARGE = 1 << 24
"""Pixels above which pictures are decoded one at a time: threads share the memory of one."""
_one_large = threading.Lock()
_intact: set[Hashable] = set()
"""Pictures that were decoded to their end: all stages of a run read the same."""
# Pillow warns above half of its own limit; ours is an error before that
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
_STRIP = 1 << 20
"""Pixels that are brought to 8 bits at a time."""
_TURN = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
"""EXIF orientation -> what turns the stored picture, [H W 3], into the displayed one."""
_ORIENTATION = 0x0112
_END_OF_JPEG = b"\xff\xd9"
_OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)|\0")


def check_max_pixels(max_pixels: int) -> None:
    """Raises a `ValueError` if the limit of decoded pixels is out of range."""
    if not 1 <= max_pixels <= _PILLOW_MAX:
        raise ValueError(
            f"data.max_image_pixels is {max_pixels}; give a number from 1 to {_PILLOW_MAX}"
        )


def find(folder: Path, name: str) -> Path:
    """Returns the path of a picture that a record names within a data set's folder.

    Links below the folder are followed: data sets are commonly made of them.

    Raises:
        BadRecord: an absolute name, or one that leads out of the folder.
    """
    # on Windows a name may begin with a drive and have either slash
    if _OUTSIDE.search(name):
        raise BadRecord(
            f"names a picture outside its data set: {schema.show(name)}; put it below {folder} "
            "and give its path from there",
            f"naming a picture outside {folder}",
        )
    return folder / name


def first(folders: Sequence[Path], name: str) -> Path:
    """Returns the first file of a name in some folders.

    Raises:
        BadRecord: none has it.
    """
    for folder in folders:
        if os.path.exists(folder / name):  # False too for a name that is too long
            return folder / name
    places = [str(folder / name) for folder in folders[:2]]
    raise BadRecord(
        f"has no picture: {places[0]} is not there{''.join(f', nor {x}' for x in places[1:])}; get "
        "it, or leave such records out with on_bad_record=skip",
        f"without a picture in {' or '.join(map(str, folders[:2]))}",
    )


def open_image(source: Source, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Opens a picture without decoding its pixels.

    Raises:
        BadRecord: no such file, no regular file, no picture, or more than `max_pixels`.
    """
    try:
        image = Image.open(_open(source), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _too_large(source, f"more than {_PILLOW_MAX}", max_pixels) from None
    except BadRecord:
        raise
    except Exception as error:  # each decoder has its own: struct.error, SyntaxError, KeyError, ...
        raise _unreadable(source, error) from None
    if image.width * image.height > max_pixels:
        raise _too_large(source, f"{image.width} x {image.height}", max_pixels)
    return image


def displayed_size(image: Image.Image) -> tuple[int, int]:
    """Returns width and height of the displayed picture; decodes nothing."""
    turned = _orientation(image) >= 5
    return (image.height, image.width) if turned else image.size


def decode(image: Image.Image, source: Source) -> np.ndarray:
    """Decodes an opened picture to its end: uint8 [H W 3], as it is displayed.

    Raises:
        BadRecord: its data is damaged.
    """
    if image.width * image.height > _LARGE:
        with _one_large:
            return _decode(image, source)
    return _decode(image, source)


def check(image: Image.Image, source: Source) -> None:
    """Decodes an opened picture to its end, for its faults alone; raises as `decode`.

    The second time that a picture is checked costs nothing.
    """
    key = _identity(source)
    if key not in _intact:
        _check(image, source)
        _intact.add(key)


def check_end(image: Image.Image, source: Source) -> None:
    """Checks that an opened picture's data is there to its end; raises as `decode`.

    A JPEG whose last bytes are its end mark is not decoded: 0.02 ms, not 0.6, at 640 x 480. Any
    other picture is checked as by `check`.
    """
    if image.format != "JPEG" or not _read_end(source).endswith(_END_OF_JPEG):
        check(image, source)


def _read_end(source: Source) -> bytes:
    if isinstance(source, bytes):
        return source[-len(_END_OF_JPEG) :]
    with _open(source) as file:
        file.seek(-len(_END_OF_JPEG), os.SEEK_END)
        return file.read()


def _identity(source: Source) -> Hashable:
    if isinstance(source, bytes):
        return hash(source), len(source)
    state = os.stat(source)
    return source, state.st_size, state.st_mtime_ns


def _check(image: Image.Image, source: Source) -> None:
    if image.format != "JPEG" or image.width * image.height > _LARGE:
        decode(image, source)
        return
    try:
        # all data is read, an eighth of the sides computed: 0.6 ms, not 2.7, at 640 x 480
        image.draft("L", (image.width // 8, image.height // 8))
        image.load()
    except Exception as error:  # each decoder has its own
        raise _unreadable(source, error) from None


def blank(size: tuple[int, int]) -> np.ndarray:
    """Returns a picture of one colour that takes no memory, uint8 [H W 3]."""
    width, height = size
    return np.broadcast_to(np.zeros((), np.uint8), (height, width, 3))


def read(source: Source, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Opens and decodes a picture; returns and raises as `open_image` and `decode`."""
    with open_image(source, max_pixels) as image:
        return decode(image, source)


def describe(source: Source) -> str:
    """Returns the name of a picture's file for an error."""
    return str(source) if isinstance(source, Path) else "its bytes"


def as_source(value: Any, folder: Path, anywhere: bool = False) -> Source:
    """Returns the picture of a cell of an `image` column: a path, {bytes, path}, or bytes.

    Args:
        value: the cell, as `datasets` gives it undecoded.
        folder: the folder in which a path is.
        anywhere: True if a path may also be any other of this machine.

    Raises:
        BadRecord: no picture, or a path that leads out of the folder.
    """
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and value:
        return value
    if isinstance(value, str) and value:
        if anywhere and not os.path.exists(folder / value):
            return Path(value)
        return folder / value if anywhere else find(folder, value)
    raise BadRecord(
        f"has {schema.show(value)} for its image; a picture, a path, or {{bytes, path}} is "
        "expected",
        NO_IMAGE,
    )


# ---- files ---------------------------------------------------------------------------------------


def _open(source: Source) -> io.BufferedIOBase:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        # a pipe would block, here and in a read
        file = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise BadRecord(
            f"has no picture: {source} is not there; get it, or leave such records out with "
            "on_bad_record=skip",
            f"without a picture in {source.parent}",
        ) from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise BadRecord(
            f"has no picture: {source} is no regular file; give a picture's file",
            "whose picture is no regular file",
        )
    return os.fdopen(file, "rb")


def _unreadable(source: Source, error: Exception) -> BadRecord:
    words = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Image.UnidentifiedImageError):
        words = f"it is none of {', '.join(FORMATS)}"
    return BadRecord(
        f"has no readable picture: {describe(source)}: {words}", "without a readable picture"
    )


def _too_large(source: Source, size: str, max_pixels: int) -> BadRecord:
    return BadRecord(
        f"has a picture of {size} pixels, {describe(source)}; at most {max_pixels} are decoded: "
        "make it smaller, or raise data.max_image_pixels",
        f"whose picture has more than {max_pixels} pixels",
    )


# ---- pixels --------------------------------------------------------------------------------------


def _orientation(image: Image.Image) -> int:
    try:
        # not the method of PNG, which decodes all pixels to look for EXIF behind them
        value = Image.Image.getexif(image).get(_ORIENTATION)
    except Exception:  # damaged EXIF: viewers display such a picture as it is stored
        return 1
    if image.format == "TIFF":  # Pillow's reader turns these itself
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _decode(image: Image.Image, source: Source) -> np.ndarray:
    try:
        orientation = _orientation(image)
        image.load()
        width, height = image.size
        grey = _grey_range(image)
        pixels = np.empty((height, width, 3), np.uint8)
        # in strips: what is transparent needs 20 bytes a pixel on its way, the whole 3
        for rows in _strips(image):
            strip = image if len(rows) == height else _rows_of(image, rows)
            pixels[rows.start : rows.stop] = _to_rgb(strip, grey)
        return np.ascontiguousarray(_TURN.get(orientation, lambda a: a)(pixels))
    except Exception as error:  # each decoder has its own
        raise _unreadable(source, error) from None


def _strips(image: Image.Image) -> list[range]:
    step = max(1, _STRIP // image.width)
    return [range(y, min(y + step, image.height)) for y in range(0, image.height, step)]


def _rows_of(image: Image.Image, rows: range) -> Image.Image:
    return image.crop((0, rows.start, image.width, rows.stop))


def _to_rgb(image: Image.Image, grey: tuple[float, float] | None) -> np.ndarray:
    """Returns pixels in 8 bits of red, green and blue, on white where they are transparent."""
    if grey:
        black, white = grey
        scaled = (_values(image) - black) * (255 / max(white - black, 1e-12))
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)[..., None]
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _grey_range(image: Image.Image) -> tuple[float, float] | None:
    """Returns the values of black and white in a grey picture of more than 8 bits, else None.

    Pillow would clip them. 16 bits: 65535 is white. 32 bits and floats have no white of their own:
    it is the least of 1 (floats only), 255 and 65535 that no value exceeds; other values are
    stretched from the least to the largest.
    """
    if not image.mode.startswith(("I", "F")):
        return None
    if image.mode.startswith("I;16") or image.format == "PPM":
        return 0.0, 65535.0
    strips = (_values(_rows_of(image, rows)) for rows in _strips(image))
    lows, highs = zip(*((x.min(), x.max()) for x in strips), strict=True)
    low, high = float(min(lows)), float(max(highs))
    whites = (1.0, 255.0, 65535.0)[0 if image.mode == "F" else 1 :]
    return next(((0.0, white) for white in whites if 0 <= low and high <= white), (low, high))


def _values(image: Image.Image) -> np.ndarray:
    """Returns the values of a grey picture, float32 [H W]; those that are no numbers are 0."""
    values = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)
    return np.clip(values, -1e30, 1e30)
