"""A hexagon of six numbered triangles, anti-clockwise from the top; each colour has one sum."""

import random
from functools import partial
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import layouts, words
from mmcot_jax.tasks.puzzlevqa.canvas import Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates, parse_lists

PALE = {
    "blue": "#9ec5e8",
    "green": "#b6d7a8",
    "yellow": "#fee599",
    "red": "#ea9999",
    "purple": "#b4a7d6",
    "orange": "#f9cb9c",
}
"""Fills that a black number is easy to read on."""

TEMPLATES = Templates(
    caption="There is a hexagon split into six parts with the colors {colors} in an "
    "anti-clockwise order. The parts are denoted with the numbers {numbers} respectively.",
    explanation="We observe that the numbers in the {first} parts add up to {total}. "
    "Similarly, the numbers in the {second} parts also add up to {total}. Thus, the pattern "
    "is that {rule}.",
    deduction="Based on the pattern that {rule}, the missing number of the {color} part "
    "should be {answer}.",
    rule="the numbers in the parts of the same color add up to {total}",
    thing="number",
    compared="the sum of the numbers of the parts with the same color",
    conclusion="The pattern that {rule}, holds consistently",
)


def sample(rng: random.Random) -> Scene:
    """Samples three colours twice, with numbers 1 to 9 of equal sums; attributes are colours."""
    names, half = words.three_colors(rng), rng.sample(range(1, 10), 3)
    total = rng.randint(max(half) + 1, min(half) + 9)
    numbers = [*half, *(total - number for number in half)]
    parts = list(zip([*names, *names], numbers, strict=True))
    colors, numbers = zip(*rng.sample(parts, 6), strict=True)
    missing = rng.randrange(6)
    options = words.number_options(rng, numbers[missing])
    return Scene(numbers, missing, options, attributes=colors)


def fields(scene: Scene) -> dict[str, Any]:
    """Returns colours, numbers and the sum that all colours share."""
    first, second, _ = sorted(set(scene.attributes))
    return {
        "colors": [*scene.attributes],
        "numbers": scene.labels,
        "first": first,
        "second": second,
        "total": sum(scene.values) // 3,
        "color": scene.attributes[scene.missing],
    }


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws the triangles with their numbers."""
    canvas = Canvas(size)
    parts = zip(layouts.hexagon_parts(), scene.attributes, scene.labels, strict=True)
    for part, color, label in parts:
        canvas.text(layouts.draw_part(canvas, part, PALE[color]), str(label), 51)
    return canvas.array()


parse_fields = partial(parse_lists, attributes="colors")

KIND = Kind("color_number_hexagon", TEMPLATES, sample, fields, draw, parse_fields)
