"""A supersampled picture to draw on, in units of the 512-pixel original."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Literal

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

    def _points(self, points: Sequence[Point]) -> list[tuple[float, float]]:
        return [(x * self._scale, y * self._scale) for x, y in points]

    def _box(self, corners: Sequence[Number]) -> list[float]:
        return [corner * self._scale for corner in corners]

    def _width(self, width: Number) -> int:
        return max(1, round(width * self._scale)) if width else 0

    def polygon(self, points: Sequence[Point], fill: str | None, width: Number) -> None:
        """Draws a polygon with a black outline inside its edge; width 0 draws no outline."""
        self._draw.polygon(
            self._points(points), fill=fill, outline="black", width=self._width(width)
        )

    def circle(self, center: Point, radius: Number, fill: str | None, width: Number) -> None:
        """Draws a disc with a black outline inside `radius`; width 0 draws no outline."""
        (x, y), r = center, radius
        box = self._box([x - r, y - r, x + r, y + r])
        self._draw.ellipse(box, fill=fill, outline="black", width=self._width(width))

    def rectangle(
        self, corners: Sequence[Number], fill: str | None, width: Number, radius: Number
    ) -> None:
        """Draws a rectangle `x0 y0 x1 y1` with rounded corners and an outline inside its edge."""
        self._draw.rounded_rectangle(
            self._box(corners),
            radius=radius * self._scale,
            fill=fill,
            outline="black",
            width=self._width(width),
        )

    def line(self, points: Sequence[Point], width: Number, fill: str = "black") -> None:
        """Draws a line through `points`."""
        self._draw.line(self._points(points), fill=fill, width=self._width(width))

    def text(self, center: Point, text: str, height: Number, weight: Weight = "Medium") -> None:
        """Draws text centred on a point; `height` is the font's size, digits are 0.71 of it."""
        self._draw.text(
            self._points([center])[0],
            text,
            fill="black",
            font=_font(weight, round(height * self._scale)),
            anchor="mm",
        )

    def array(self) -> np.ndarray:
        """Returns the finished picture, uint8 [size size 3]."""
        reduced = self._image.resize((self.size, self.size), Image.Resampling.LANCZOS)
        return np.asarray(reduced)
