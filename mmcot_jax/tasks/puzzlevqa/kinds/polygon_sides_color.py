"""Six polygons in a triangle; polygons with equally many sides have one colour."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import layouts, words
from mmcot_jax.tasks.puzzlevqa.canvas import BLANK, COLORS, Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates, parse_scene
from mmcot_jax.tasks.puzzlevqa.words import MISSING

TEMPLATES = Templates(
    caption="There are 6 colored polygons arranged in a triangle with color {top} in the top row, "
    "{middle} in the middle row, and {bottom} in the bottom row.",
    explanation="We observe that the polygon with {first} sides is {first_color} in color and the "
    "polygon with {second} sides is {second_color} in color. Thus, the pattern is that {rule}.",
    deduction="Based on the pattern that {rule}, the missing color of the part with {sides} sides "
    "should be {answer}.",
    rule="the polygons with the same number of sides have the same color",
    thing="color",
    compared="the color of each polygon to its number of sides",
    relation="side-to-color",
)


def sample(rng: random.Random) -> Scene:
    """Samples three coloured numbers of sides, all twice; attributes are the numbers."""
    numbers = rng.sample(layouts.POLYGON_SIDES, 3)
    color_of = dict(zip(numbers, rng.sample(list(COLORS), 3), strict=True))
    sides = tuple(rng.sample(numbers * 2, 6))
    missing = rng.randrange(6)
    colors = tuple(color_of[count] for count in sides)
    options = words.options(rng, colors[missing], COLORS)
    return Scene(colors, missing, options, attributes=sides)


def fields(scene: Scene) -> dict[str, Any]:
    """Returns the colours, and the two numbers of sides other than the missing one."""
    target = scene.attributes[scene.missing]
    color_of = dict(zip(scene.attributes, scene.values, strict=True))
    # The released order is that of a small Python set of integers: by remainder modulo 8.
    first, second = sorted(color_of.keys() - {target}, key=lambda sides: sides % 8)
    return {
        **layouts.triangle_rows(scene.labels),
        "first": first,
        "first_color": color_of[first],
        "second": second,
        "second_color": color_of[second],
        "sides": target,
    }


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws the polygons; the missing one is grey."""
    canvas = Canvas(size)
    for index, (sides, color) in enumerate(zip(scene.attributes, scene.labels, strict=True)):
        center = layouts.draw_polygon(canvas, index, sides, COLORS.get(color, BLANK), 1)
        if color == MISSING:
            canvas.text(center, MISSING, 50, "Light")
    return canvas.array()


def parse_fields(caption: Mapping[str, Any], record: Mapping[str, Any]) -> Scene:
    """Reads colours as labels, and sides as attributes from explanation and deduction."""
    scene = parse_scene(layouts.from_triangle_rows(caption), record)
    seen = words.parse(TEMPLATES.explanation, record["explanation"])
    target = words.parse(TEMPLATES.deduction, record["deduction"])
    sides_of = {
        seen["first_color"]: int(seen["first"]),
        seen["second_color"]: int(seen["second"]),
        target["answer"]: int(target["sides"]),
    }
    return scene._replace(attributes=tuple(sides_of[color] for color in scene.values))


KIND = Kind("polygon_sides_color", TEMPLATES, sample, fields, draw, parse_fields)
