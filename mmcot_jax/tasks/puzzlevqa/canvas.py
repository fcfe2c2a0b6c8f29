"""A supersampled picture to draw on, in units of the 512-pixel original."""

from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher
from functools import cache
from importlib.resources import files
from io import BytesIO
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

UNITS = 512
"""Side of the released pictures, pixels; every coordinate is in these units."""

SUPERSAMPLE = 4
"""Sub-pixels a pixel along an axis, reduced by Lanczos, as in the released pictures."""

COLORS = {
    "blue": "#6fa8dc",
    "green": "#93c47d",
    "yellow": "#ffd966",
    "red": "#e06666",
    "purple": "#8e7cc3",
    "orange": "#f6b26b",
}
"""Fills of the colours, in the order of the study's generator."""

BLANK = "#eeeeee"
"""Fill of a part whose colour is missing."""

Number = float | int
Point = tuple[Number, Number]
Weight = Literal["Light", "Medium"]


@cache
def _font(weight: Weight, pixels: int) -> ImageFont.FreeTypeFont:
    data = files(__package__).joinpath(f"fonts/OpenSans-{weight}.ttf").read_bytes()
    return ImageFont.truetype(BytesIO(data), size=pixels)


class _Shape(NamedTuple):
    """A shape that was drawn."""

    call: Hashable
    """The method and its arguments."""
    box: tuple[float, float, float, float]
    """`x0 y0 x1 y1` in sub-pixels; nothing of the shape is outside."""


_finished: dict[int, tuple[Sequence[_Shape], np.ndarray]] = {}
"""Size -> the shapes and the pixels of the last finished picture."""


class Canvas:
    """A white square picture; points, radii and widths are in pixels of the 512-pixel original.

    Args:
        size: side of the finished picture, pixels.

    Raises:
        ValueError: `size` is below 16, where shapes cannot be told apart.
    """

    def __init__(self, size: int):
        if size < 16:
            raise ValueError(f"picture size {size} is too small to draw a puzzle; give at least 16")
        self.size = size
        self._scale = size * SUPERSAMPLE / UNITS
        side = size * SUPERSAMPLE
        self._image = Image.new("RGB", (side, side), "white")
        self._draw = ImageDraw.Draw(self._image)
        self._shapes: list[_Shape] = []

    def _add(self, corners: Sequence[Number], margin: Number, *call: Hashable) -> None:
        """Notes a shape whose `corners`, x y x y ... in sub-pixels, may be exceeded by `margin`."""
        xs, ys = corners[::2], corners[1::2]
        margin += 2  # the edges of all shapes are rounded
        box = min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin
        self._shapes.append(_Shape(call, box))

    def _points(self, points: Sequence[Point]) -> list[tuple[float, float]]:
        return [(x * self._scale, y * self._scale) for x, y in points]

    def _box(self, corners: Sequence[Number]) -> list[float]:
        return [corner * self._scale for corner in corners]

    def _width(self, width: Number) -> int:
        return max(1, round(width * self._scale)) if width else 0

    def polygon(self, points: Sequence[Point], fill: str | None, width: Number) -> None:
        """Draws a polygon with a black outline inside its edge; width 0 draws no outline."""
        points, width = self._points(points), self._width(width)
        self._draw.polygon(points, fill=fill, outline="black", width=width)
        self._add([*chain(*points)], width, "polygon", *points, fill, width)

    def circle(self, center: Point, radius: Number, fill: str | None, width: Number) -> None:
        """Draws a disc with a black outline inside `radius`; width 0 draws no outline."""
        (x, y), r = center, radius
        box, width = self._box([x - r, y - r, x + r, y + r]), self._width(width)
        self._draw.ellipse(box, fill=fill, outline="black", width=width)
        self._add(box, 0, "circle", *box, fill, width)

    def rectangle(
        self, corners: Sequence[Number], fill: str | None, width: Number, radius: Number
    ) -> None:
        """Draws a rectangle `x0 y0 x1 y1` with rounded corners and an outline inside its edge."""
        box, radius, width = self._box(corners), radius * self._scale, self._width(width)
        self._draw.rounded_rectangle(box, radius=radius, fill=fill, outline="black", width=width)
        self._add(box, 0, "rectangle", *box, radius, fill, width)

    def line(self, points: Sequence[Point], width: Number, fill: str = "black") -> None:
        """Draws a line through `points`."""
        points, width = self._points(points), self._width(width)
        self._draw.line(points, fill=fill, width=width)
        self._add([*chain(*points)], width, "line", *points, fill, width)

    def text(self, center: Point, text: str, height: Number, weight: Weight = "Medium") -> None:
        """Draws text centred on a point; `height` is the font's size, digits are 0.71 of it."""
        (at,), pixels = self._points([center]), round(height * self._scale)
        given = {"font": _font(weight, pixels), "anchor": "mm"}
        self._draw.text(at, text, fill="black", **given)
        self._add(self._draw.textbbox(at, text, **given), 0, "text", *at, text, weight, pixels)

    def array(self) -> np.ndarray:
        """Returns the finished picture, uint8 [size size 3].

        Pixels near shapes that are not in the last finished picture, and near those that only it
        has, are reduced; the others are copied. At 512 pixels to reduce all takes 43 of 47 ms, and
        the pictures of a puzzle's options differ in one shape.
        """
        white = np.full((self.size, self.size, 3), 255, np.uint8)
        before, pixels = _finished.get(self.size, ((), white))
        if boxes := [shape.box for shape in _difference(before, self._shapes)]:
            x0, y0, x1, y1 = self._reach(boxes)
            box = [SUPERSAMPLE * x for x in (x0, y0, x1, y1)]
            part = self._image.resize((x1 - x0, y1 - y0), Image.Resampling.LANCZOS, box=box)
            pixels = pixels.copy()
            pixels[y0:y1, x0:x1] = part
        pixels.flags.writeable = False  # the next picture is made from it
        _finished[self.size] = tuple(self._shapes), pixels
        return pixels

    def _reach(self, boxes: Sequence[tuple[float, ...]]) -> tuple[int, int, int, int]:
        """Returns the pixels `x0 y0 x1 y1` that depend on sub-pixels in one of the boxes."""
        left, top, right, bottom = np.array(boxes).T / SUPERSAMPLE
        near = 4  # Lanczos reads three pixels each way
        low = np.floor([left.min(), top.min()]) - near
        high = np.ceil([right.max(), bottom.max()]) + near
        # a shape outside the picture still gives a box inside it
        x0, y0 = np.clip(low, 0, self.size - 1).astype(int).tolist()
        x1, y1 = np.clip(high, 1, self.size).astype(int).tolist()
        return x0, y0, x1, y1


def _difference(one: Sequence[_Shape], other: Sequence[_Shape]) -> list[_Shape]:
    """Returns the shapes of each that the other does not have in the same order."""
    parts = SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    return [
        shape for kind, i, j, k, n in parts if kind != "equal" for shape in (*one[i:j], *other[k:n])
    ]
