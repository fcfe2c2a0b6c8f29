"""A toy world: a few coloured shapes on a white square, drawn, described and boxed. Host only.

The shapes of a scene lie in a 3 x 3 grid, at most one a cell. Their position within the cell and
their size are random and appear in the picture only.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from mmcot_jax.boxes import Box, Space

SHAPES = ("circle", "square", "triangle")
COLORS = {"red": "#d62728", "green": "#2ca02c", "blue": "#1f77b4", "yellow": "#f2c200"}
NAMES = tuple((color, shape) for color in COLORS for shape in SHAPES)
"""Every colour with every shape."""
CELLS = ("top left", "top", "top right", "left", "center", "right",
         "bottom left", "bottom", "bottom right")  # fmt: skip
"""Names of the nine cells, row by row."""
UNITS = 24
"""Side of a scene in units; the side of a cell is 8."""
SIDES = (5, 6, 7)
"""Sides of shapes in units: smaller than a cell, so that no two shapes touch."""
MAX_THINGS = 4
"""Largest number of shapes in a scene."""

MIN_SIZE = UNITS
"""Smallest side of a picture in pixels: below it a unit is less than a pixel."""

_SUPERSAMPLE = 4


class Thing(NamedTuple):
    """One shape of a scene."""

    color: str
    shape: str
    cell: int
    x: int
    """Left edge, in units."""
    y: int
    """Top edge."""
    side: int

    @property
    def name(self) -> str:
        """ "red circle"; unique in a scene."""
        return f"{self.color} {self.shape}"

    @property
    def row(self) -> int:
        """0 is top, 1 middle, 2 bottom."""
        return self.cell // 3

    @property
    def column(self) -> int:
        """0 is left, 1 middle, 2 right."""
        return self.cell % 3

    def box(self, size: int) -> Box:
        """Returns its box in a picture of `size` pixels: the pixels x0 <= x < x1, y0 <= y < y1."""
        edges = (self.x, self.y, self.x + self.side, self.y + self.side)
        x0, y0, x1, y1 = (round(edge * size / UNITS) for edge in edges)
        return Box(self.name, x0, y0, x1, y1, Space("original", size, size))


Scene = tuple[Thing, ...]
"""One to four things, in reading order of their cells."""


def sample(rng: random.Random, least: int = 1) -> Scene:
    """Returns a random scene of `least` to `MAX_THINGS` things."""
    return arrange(rng, rng.sample(NAMES, rng.randint(least, MAX_THINGS)))


def arrange(rng: random.Random, names: Sequence[tuple[str, str]]) -> Scene:
    """Returns a random scene of the named things, each in its own cell."""
    things = []
    cells = sorted(rng.sample(range(9), len(names)))
    for (color, shape), cell in zip(names, cells, strict=True):
        side = rng.choice(SIDES)
        x, y = (8 * start + rng.randint(0, 8 - side) for start in (cell % 3, cell // 3))
        things.append(Thing(color, shape, cell, x, y, side))
    return tuple(things)


def draw(scene: Scene, size: int) -> np.ndarray:
    """Returns the picture, uint8 [size size 3]; every shape touches all edges of its box."""
    image = Image.new("RGB", (size * _SUPERSAMPLE,) * 2, "white")
    pen = ImageDraw.Draw(image)
    for thing in scene:
        box = thing.box(size)
        x0, y0, x1, y1 = (int(edge) * _SUPERSAMPLE for edge in box[1:5])
        corners, fill = (x0, y0, x1 - 1, y1 - 1), COLORS[thing.color]  # Pillow includes the end
        if thing.shape == "circle":
            pen.ellipse(corners, fill=fill)
        elif thing.shape == "square":
            pen.rectangle(corners, fill=fill)
        else:
            pen.polygon([(x0, y1 - 1), (x1 - 1, y1 - 1), ((x0 + x1) // 2, y0)], fill=fill)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def describe(scene: Scene) -> str:
    """Returns "A red circle is at the top left. A blue square is at the center."."""
    return " ".join(f"A {thing.name} is at the {CELLS[thing.cell]}." for thing in scene)
