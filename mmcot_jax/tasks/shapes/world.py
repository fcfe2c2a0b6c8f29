"""A toy world: a few coloured shapes on a white square, drawn, described and boxed. Host only.

A scene has its shapes in a 3 x 3 grid of cells, one a cell; where in its cell a shape lies, and how
large it is, differs from scene to scene and is seen in the picture only.
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
"""Side of a scene; a cell's is 8."""
SIDES = (5, 6, 7)
"""Sides of a shape, in units: smaller than its cell, so that no two shapes touch."""
MOST = 4
"""Shapes in a scene, at most."""

SMALLEST = UNITS
"""Side of the smallest picture, pixels: below it a unit is less than a pixel."""

_SUPERSAMPLE = 4


class Thing(NamedTuple):
    """One shape of a scene."""

    color: str
    shape: str
    cell: int
    x: int
    """Left edge, in units of the scene."""
    y: int
    """Top edge."""
    side: int

    @property
    def name(self) -> str:
        """ "red circle"; no two things of a scene have the same."""
        return f"{self.color} {self.shape}"

    @property
    def row(self) -> int:
        """0 top, 1 middle, 2 bottom."""
        return self.cell // 3

    @property
    def column(self) -> int:
        """0 left, 1 middle, 2 right."""
        return self.cell % 3

    def box(self, size: int) -> Box:
        """Where it is in a picture of `size` pixels: the pixels from x0 up to x1, x1 left out."""
        edges = (self.x, self.y, self.x + self.side, self.y + self.side)
        x0, y0, x1, y1 = (round(edge * size / UNITS) for edge in edges)
        return Box(self.name, x0, y0, x1, y1, Space("original", size, size))


Scene = tuple[Thing, ...]
"""One to four things, in reading order of their cells."""


def sample(rng: random.Random, least: int = 1) -> Scene:
    """A scene of `least` to `MOST` things, by the generator's numbers alone."""
    return arrange(rng, rng.sample(NAMES, rng.randint(least, MOST)))


def arrange(rng: random.Random, names: Sequence[tuple[str, str]]) -> Scene:
    """A scene of shapes with these colours, each in a cell of its own."""
    things = []
    cells = sorted(rng.sample(range(9), len(names)))
    for (color, shape), cell in zip(names, cells, strict=True):
        side = rng.choice(SIDES)
        x, y = (8 * place + rng.randint(0, 8 - side) for place in (cell % 3, cell // 3))
        things.append(Thing(color, shape, cell, x, y, side))
    return tuple(things)


def draw(scene: Scene, size: int) -> np.ndarray:
    """The picture, uint8 [size size 3]; every shape fills its box from edge to edge."""
    image = Image.new("RGB", (size * _SUPERSAMPLE,) * 2, "white")
    pen = ImageDraw.Draw(image)
    for thing in scene:
        box = thing.box(size)
        x0, y0, x1, y1 = (int(edge) * _SUPERSAMPLE for edge in box[1:5])
        corners, fill = (x0, y0, x1 - 1, y1 - 1), COLORS[thing.color]  # Pillow's end is inside
        if thing.shape == "circle":
            pen.ellipse(corners, fill=fill)
        elif thing.shape == "square":
            pen.rectangle(corners, fill=fill)
        else:
            pen.polygon([(x0, y1 - 1), (x1 - 1, y1 - 1), ((x0 + x1) // 2, y0)], fill=fill)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def describe(scene: Scene) -> str:
    """The scene in words: "A red circle is at the top left. A blue square is at the center."."""
    return " ".join(f"A {thing.name} is at the {CELLS[thing.cell]}." for thing in scene)
