"""Six circles in a ring, clockwise from the right, each as large as its number."""

import math
import random
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import BLANK, Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates
from mmcot_jax.tasks.puzzlevqa.layouts import CENTER, truncate

TEMPLATES = Templates(
    caption="There are 6 numbered circles with varying sizes arranged in a ring with number "
    "{numbers} in a clockwise order.",
    explanation="We observe that the size of the circle is related to the number in the "
    "circle. The circle with the largest value {largest} seems to be the biggest and the "
    "circle with the smallest value {smallest} seems to be the smallest. Thus, the pattern is "
    "that {rule}.",
    deduction="Based on the pattern that {rule}, the missing number of the circle denoted "
    "with a question mark should be {answer}.",
    rule="the larger the number the larger the circle",
    thing="number",
    compared="the size of each circle to the number inside it",
    relation="size-to-number",
)


def sample(rng: random.Random) -> Scene:
    """Samples three numbers, each of them twice."""
    numbers = tuple(rng.sample(rng.sample(range(1, 7), 3) * 2, 6))
    missing = rng.randrange(6)
    options = words.options(rng, str(numbers[missing]), map(str, range(1, 7)))
    return Scene(numbers, missing, options)


def fields(scene: Scene) -> dict[str, Any]:
    """Returns the numbers and their extremes."""
    extremes = {"largest": max(scene.values), "smallest": min(scene.values)}
    return {"numbers": scene.labels, **extremes}


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws circles of 50 pixels, plus 3.75 for each unit of their number."""
    canvas = Canvas(size)
    for i, (number, label) in enumerate(zip(scene.values, scene.labels, strict=True)):
        turn = math.pi / 3 * i
        x, y = truncate(150 * math.cos(turn)), truncate(150 * math.sin(turn))
        center = (CENTER[0] + x, CENTER[1] + y)
        canvas.circle(center, 50 + 3.75 * number, BLANK, 1)
        canvas.text(center, str(label), 50, "Light")
    return canvas.array()


KIND = Kind("circle_size_number", TEMPLATES, sample, fields, draw)
