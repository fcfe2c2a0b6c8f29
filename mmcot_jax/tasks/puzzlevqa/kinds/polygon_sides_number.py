"""Six polygons in a triangle; the number in each is that of its sides."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import layouts, words
from mmcot_jax.tasks.puzzlevqa.canvas import Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates, parse_scene

FILL = "#d9d2e8"

TEMPLATES = Templates(
    caption="There are 6 numbered polygons arranged in a triangle with number {top} in the "
    "top row, {middle} in the middle row, and {bottom} in the bottom row.",
    explanation="We observe that {known}. Thus, the pattern is that the number inside the "
    "polygon represents the number of sides the polygon has.",
    deduction="Based on the pattern that {rule}, the missing number of the polygon with "
    "{answer} sides should be {answer}.",
    rule="the number inside the polygon represents the number of sides of the polygon",
    thing="number",
    compared="the number of sides of each polygon to the number inside them",
    relation="side-to-number",
)


def sample(rng: random.Random) -> Scene:
    """Samples six different numbers of sides."""
    sides = tuple(rng.sample(layouts.POLYGON_SIDES, 6))
    missing = rng.randrange(6)
    options = words.options(rng, str(sides[missing]), map(str, layouts.POLYGON_SIDES))
    return Scene(sides, missing, options)


def fields(scene: Scene) -> dict[str, Any]:
    """Returns the numbers, and a clause for every known polygon."""
    known = scene.values[: scene.missing] + scene.values[scene.missing + 1 :]
    *clauses, last = [f"the polygon with {count} sides has the number {count}" for count in known]
    return {**layouts.triangle_rows(scene.labels), "known": f"{', '.join(clauses)}, and {last}"}


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws the polygons with their numbers."""
    canvas = Canvas(size)
    for index, (sides, label) in enumerate(zip(scene.values, scene.labels, strict=True)):
        canvas.text(layouts.draw_polygon(canvas, index, sides, FILL, 3), str(label), 50)
    return canvas.array()


def parse_fields(caption: Mapping[str, Any], record: Mapping[str, Any]) -> Scene:
    """Reads numbers as labels."""
    return parse_scene(layouts.from_triangle_rows(caption), record)


KIND = Kind("polygon_sides_number", TEMPLATES, sample, fields, draw, parse_fields)
