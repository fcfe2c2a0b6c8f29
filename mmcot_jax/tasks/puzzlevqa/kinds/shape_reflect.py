"""Three shapes above a line, and their mirror images below it."""

import math
import random
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import UNITS, Canvas, Point
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates
from mmcot_jax.tasks.puzzlevqa.layouts import SIDES, corners
from mmcot_jax.tasks.puzzlevqa.words import MISSING

RADIUS = 51
FILL = "#d9ead3"

TEMPLATES = Templates(
    question="What is the missing shape denoted by a question mark?",
    caption="There are six shapes in the image separated by a line. In the top part there are "
    "{top}. In the bottom part there are {bottom}.",
    explanation="We observe that the {first} is reflected across the line as a {first}. "
    "Similarly, the {second} is reflected as a {second}. Hence, the pattern is that {rule}.",
    deduction="Based on the pattern that {rule}, the missing shape which is reflected from a "
    "{answer} part should be a {answer}.",
    rule="each shape in the top part is reflected in the bottom part",
    thing="shape",
    compared="each shape in the top part to the one below it",
    relation="reflection",
)


def sample(rng: random.Random) -> Scene:
    """Samples three shapes, repeated: 0 to 2 above the line, 3 to 5 below it."""
    shapes = tuple(rng.sample(list(SIDES), 3)) * 2
    missing = rng.randrange(6)
    return Scene(shapes, missing, words.options(rng, shapes[missing], SIDES))


def fields(scene: Scene) -> dict[str, Any]:
    """Returns both rows, and two of the shapes."""
    # Four shapes exist, three are here: the first two by name, even if one of them is missing.
    first, second, _ = sorted(scene.values[:3])
    top, bottom = scene.labels[:3], scene.labels[3:]
    return {"top": top, "bottom": bottom, "first": first, "second": second}


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws the shapes; the missing one is a dotted circle."""
    canvas = Canvas(size)
    canvas.line([(UNITS / 8, UNITS / 2), (UNITS * 7 / 8, UNITS / 2)], 2.5)
    for index, name in enumerate(scene.labels):
        center = ((index % 3 + 1) * UNITS / 4, 170.5 if index < 3 else 341.25)
        if name == MISSING:
            _draw_dotted(canvas, center)
        else:
            canvas.polygon(_outline(SIDES[name], center, index >= 3), FILL, 2.5)
    return canvas.array()


def _outline(sides: int, center: Point, below: bool) -> list[Point]:
    # Clockwise from the top; even counts stand on a side, odd ones on a side above the line only.
    step = 2 * math.pi / sides
    start = (0 if sides % 2 else math.pi / 2 - step / 2) + (math.pi if below else 0)
    rotations = [start + step * corner for corner in range(sides)]
    return [(center[0] + RADIUS * math.sin(t), center[1] - RADIUS * math.cos(t)) for t in rotations]


def _draw_dotted(canvas: Canvas, center: Point) -> None:
    canvas.text(center, MISSING, 51)
    canvas.circle(center, RADIUS, None, 2.5)
    for gap in corners(center, RADIUS, 16):
        canvas.circle(gap, 5, "white", 0)


KIND = Kind("shape_reflect", TEMPLATES, sample, fields, draw)
