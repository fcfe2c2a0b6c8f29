"""Outlines and arrangements that several kinds share, in units of the 512-pixel original."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import UNITS, Canvas, Number, Point
from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.words import MISSING, Label

CENTER: Point = (UNITS / 2, UNITS / 2)

SIDES = {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6}

# ---- outlines ------------------------------------------------------------------------------------


def corners(center: Point, radius: Number, sides: int, start: float = 0.0) -> list[Point]:
    """Corners of a regular polygon, clockwise; `start` is the first one's angle, 0 at the right."""
    rotations = [start + 2 * math.pi * corner / sides for corner in range(sides)]
    return [(center[0] + radius * math.cos(t), center[1] + radius * math.sin(t)) for t in rotations]


def upright(center: Point, radius: Number, sides: int) -> list[Point]:
    """Corners of a polygon with a tip up (odd), a flat base (square) or a tip right (hexagon)."""
    start = -math.pi / 2 if sides % 2 else -math.pi / 4 if sides == 4 else 0.0
    return corners(center, radius, sides, start)


def truncate(value: float) -> float:
    """Cuts a coordinate to whole sub-pixels, as the released pictures do."""
    return math.trunc(value * 4) / 4


# ---- grids ---------------------------------------------------------------------------------------


def cell(index: int) -> Point:
    """Centre of a cell in a 3 x 3 grid, row by row."""
    return (index % 3 + 1) * UNITS / 4, (index // 3 + 1) * UNITS / 4


# [corner side corner | side center side | corner side corner]
ROLES = (0, 1, 0, 1, 2, 1, 0, 1, 0)
PLACES = ("at the corner", "adjacent to the center")


def sample_circle_grid(
    rng: random.Random, values: Sequence[str], names: Sequence[str], k: int
) -> Scene:
    """Samples a grid of circles; `values` are those of corners, the centre's neighbours, centre."""
    missing = rng.choice([index for index in range(9) if index != 4])
    cells = tuple(values[role] for role in ROLES)
    return Scene(cells, missing, words.options(rng, cells[missing], names, k))


def circle_grid_fields(scene: Scene) -> dict[str, Any]:
    """Values for the templates of a grid of circles."""
    corner, side, _, _, center, *_ = scene.values
    seen = {"corner": corner, "side": side, "center": center}
    return {**words.rows(scene.labels), **seen, "place": PLACES[ROLES[scene.missing]]}


def draw_circle_grid(
    scene: Scene, size: int, circles: Mapping[str, tuple[Number, str]]
) -> np.ndarray:
    """Draws a grid of circles; `circles` maps a label to radius and fill."""
    canvas = Canvas(size)
    for index, label in enumerate(scene.labels):
        # The caption starts at the picture's lower right and goes up.
        column, row = divmod(8 - index, 3)
        center = cell(3 * row + column)
        if label == MISSING:
            canvas.text(center, MISSING, 51)
        else:
            canvas.circle(center, *circles[label], 2.5)
    return canvas.array()


# ---- a hexagon of six parts ----------------------------------------------------------------------

HEXAGON_SIDE = 170.5


def hexagon_parts() -> list[tuple[Point, Point, Point]]:
    """The six triangles of a hexagon, anti-clockwise from the top: two corners and its centre."""
    middle = UNITS / 2
    # The y axis points down: anti-clockwise is a growing angle with the sine subtracted.
    angles = [math.pi / 3 * (corner + 1) for corner in range(7)]
    outer = [
        (middle + HEXAGON_SIDE * math.cos(a), middle - HEXAGON_SIDE * math.sin(a)) for a in angles
    ]
    return [(*outer[index : index + 2], CENTER) for index in range(6)]


def draw_part(canvas: Canvas, part: tuple[Point, Point, Point], fill: str) -> Point:
    """Draws one of the six parts, its outline centred on its edges; returns its centroid."""
    canvas.polygon(part, fill, 0)
    canvas.line([*part, part[0]], 4)
    return sum(x for x, _ in part) / 3, sum(y for _, y in part) / 3


# ---- six polygons in a triangle, anti-clockwise from the top: rows 0 | 1 5 | 2 3 4 ---------------

POLYGON_SIDES = range(3, 10)


def draw_polygon(canvas: Canvas, index: int, sides: int, fill: str, width: Number) -> Point:
    """Draws one of the six polygons; returns its centre."""
    # Corners lie 175 pixels out, the middles of the sides half of that: one triangle of six.
    distance = 87.5 if index % 2 else 175
    angle = index * math.pi / 3
    x, y = CENTER
    center = (x - truncate(distance * math.sin(angle)), y - truncate(distance * math.cos(angle)))
    canvas.polygon(corners(center, 60, sides), fill, width)
    return center


def triangle_rows(labels: Sequence[Label]) -> dict[str, list[Label]]:
    """Returns the `top`, `middle` and `bottom` row of the six labels."""
    top, left, *bottom, right = labels
    return {"top": [top], "middle": [left, right], "bottom": bottom}


def from_triangle_rows(caption: dict[str, Any]) -> list[Label]:
    """Inverts `triangle_rows`."""
    left, right = caption["middle"]
    return [*caption["top"], left, *caption["bottom"], right]


# ---- seven rectangles in a row -------------------------------------------------------------------

LENGTHS = ("short", "medium", "long")
STEP = UNITS / 8
"""Width of a rectangle, and half the height of the shortest."""


def draw_rectangle(canvas: Canvas, index: int, length: str, fill: str) -> Point:
    """Draws one of the seven rectangles; returns its centre."""
    x, y, half = (index + 1) * STEP, UNITS / 2, (LENGTHS.index(length) + 1) * STEP
    canvas.rectangle([x - STEP / 2, y - half, x + STEP / 2, y + half], fill, 2.5, radius=25.5)
    return x, y
