"""Seven rectangles in a row; the number in each depends on its length, the last is missing."""

import random
from functools import partial
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa.canvas import Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates, parse_lists
from mmcot_jax.tasks.puzzlevqa.layouts import LENGTHS, draw_rectangle

FILL = "#d9ead3"

TEMPLATES = Templates(
    caption="There are 7 rectangles in the image with varying lengths and numbers inside "
    "them. The numbers from left to right are {numbers}. The lengths from left to right are "
    "{lengths}.",
    explanation="We observe that the short rectangles are denoted as 1, the medium rectangles "
    "are denoted as 2, and the long rectangles are denoted as 3. Hence, the pattern is that "
    "{rule}.",
    deduction="Based on the pattern that {rule}, the missing number of the rectangle with a "
    "question mark should be {answer}.",
    rule="the number in each rectangle corresponds to its length",
    thing="number",
    compared="the number in each rectangle to its length",
    relation="number-length",
)


def sample(rng: random.Random) -> Scene:
    """Samples numbers 1 to 3; attributes are lengths."""
    numbers = (*rng.sample([1, 2, 3] * 2, 6), rng.choice([1, 2, 3]))
    options = tuple(rng.sample(["1", "2", "3", "4"], 4))
    return Scene(numbers, 6, options, attributes=tuple(LENGTHS[number - 1] for number in numbers))


def fields(scene: Scene) -> dict[str, Any]:
    """Returns numbers and lengths."""
    return {"numbers": scene.labels, "lengths": [*scene.attributes]}


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws the rectangles with their numbers."""
    canvas = Canvas(size)
    for index, (length, label) in enumerate(zip(scene.attributes, scene.labels, strict=True)):
        canvas.text(draw_rectangle(canvas, index, length, FILL), str(label), 51)
    return canvas.array()


parse_fields = partial(parse_lists, attributes="lengths")

KIND = Kind("rectangle_height_number", TEMPLATES, sample, fields, draw, parse_fields)
