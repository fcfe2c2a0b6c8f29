"""Three groups of three numbers; the last of a group is the product of the other two."""

import random
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import UNITS, Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates
from mmcot_jax.tasks.puzzlevqa.layouts import CENTER, corners

FILL = "#cfe2f3"

TEMPLATES = Templates(
    caption="There are three groups of numbers with a triangle arrangement in the image. The "
    "first group is {first}, the second group is {second}, and the third group is {third}.",
    explanation="We observe that the number {ab} is the product of {b} and {a}. Similarly, "
    "the number {cd} is the product of {d} and {c}. Hence, the pattern is that {rule}.",
    deduction="Based on the pattern that {rule}, the missing number of the group {incomplete} "
    "should be {answer}.",
    rule="the rightmost number in each group is the product of the other two numbers",
    thing="number",
    compared="the rightmost number of each group to the product of the other two numbers",
)


def sample(rng: random.Random) -> Scene:
    """Samples six different factors; their three products follow, in the caption's order."""
    a, b, c, d, e, f = rng.sample(range(1, 10), 6)
    numbers = (a, b, a * b, c, d, c * d, e, f, e * f)
    missing = rng.randrange(9)
    return Scene(numbers, missing, words.number_options(rng, numbers[missing]))


def fields(scene: Scene) -> dict[str, Any]:
    """Returns the groups, the two complete ones, and the incomplete group."""
    rows = words.rows(scene.labels)
    groups = list(rows.values())
    incomplete = groups.pop(scene.missing // 3)
    (a, b, ab), (c, d, cd) = groups
    return {**rows, "a": a, "b": b, "ab": ab, "c": c, "d": d, "cd": cd, "incomplete": incomplete}


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws triangles of three numbered circles."""
    canvas = Canvas(size)
    labels = iter(scene.labels[::-1])  # the caption goes through the picture from its end
    for center in corners(CENTER, UNITS / 4, 3):
        points = corners(center, UNITS / 10, 3)
        canvas.polygon(points, None, 2.5)
        for point in points:
            canvas.circle(point, UNITS / 16, FILL, 2.5)
            canvas.text(point, str(next(labels)), 36.5)
    return canvas.array()


KIND = Kind("triangle", TEMPLATES, sample, fields, draw)
