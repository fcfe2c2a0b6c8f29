"""Seven rectangles in a row; their colours depend on their lengths, the last is missing."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import layouts, words
from mmcot_jax.tasks.puzzlevqa.canvas import BLANK, COLORS, Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates, parse_lists
from mmcot_jax.tasks.puzzlevqa.words import MISSING

TEMPLATES = Templates(
    caption="There are 7 rectangles in the image with varying colors and lengths. The lengths "
    "from left to right are {lengths}. The colors from left to right are {colors}.",
    explanation="We observe that the {first} rectangles are of {first_length} length and the "
    "{second} rectangles are of {second_length} length. Hence, the pattern is that {rule}.",
    deduction="Based on the pattern that {rule}, the missing color of the part denoted with a "
    "question mark should be {answer}.",
    rule="the color of each rectangle corresponds to its length",
    thing="color",
    compared="the color of each rectangle to its length",
    relation="color-length",
)

# The study calls the missing colour a number.
ORIGINAL = TEMPLATES._replace(thing="number")


def sample(rng: random.Random) -> Scene:
    """Samples three colours with a length each; extra is the order of the two mentioned."""
    names = rng.sample(list(COLORS), 3)
    length_of = dict(zip(names, rng.sample(layouts.LENGTHS, 3), strict=True))
    answer, *others = names
    colors = (*rng.sample(names * 2, 6), answer)
    mentioned = tuple(rng.sample(others, 2))
    options = words.options(rng, answer, COLORS)
    lengths = tuple(length_of[color] for color in colors)
    return Scene(colors, 6, options, attributes=lengths, extra=mentioned)


def fields(scene: Scene) -> dict[str, Any]:
    """Returns lengths and colours, and the two other than the missing one."""
    first, second = scene.extra
    length_of = dict(zip(scene.values, scene.attributes, strict=True))
    return {
        "lengths": [*scene.attributes],
        "colors": scene.labels,
        "first": first,
        "first_length": length_of[first],
        "second": second,
        "second_length": length_of[second],
    }


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws the rectangles; the missing one is grey."""
    canvas = Canvas(size)
    for index, (length, color) in enumerate(zip(scene.attributes, scene.labels, strict=True)):
        center = layouts.draw_rectangle(canvas, index, length, COLORS.get(color, BLANK))
        if color == MISSING:
            canvas.text(center, MISSING, 64, "Light")
    return canvas.array()


def parse_fields(caption: Mapping[str, Any], record: Mapping[str, Any]) -> Scene:
    """Reads colours as labels, lengths as attributes, and the order of mention."""
    seen = words.parse(TEMPLATES.explanation, record["explanation"])
    scene = parse_lists(caption, record, attributes="lengths")
    return scene._replace(extra=(seen["first"], seen["second"]))


KIND = Kind("rectangle_height_color", TEMPLATES, sample, fields, draw, parse_fields, ORIGINAL)
