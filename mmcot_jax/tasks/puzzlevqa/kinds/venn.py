"""Three numbers in overlapping circles; an overlap holds the sum of its two circles."""

import random
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import UNITS, Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates

FILL = "#cfe2f3"

TEMPLATES = Templates(
    caption="There are 3 overlapping circles containing the numbers {numbers}. The "
    "overlapping part between the first and second circle contains the number {left}. The "
    "overlapping part between the second and third circle contains the number {right}.",
    explanation="We observe that the circles with {one} and {other} overlap to form the part "
    "{known}, where {one} + {other} = {known}. Hence, the pattern is most likely that {rule}.",
    deduction="Based on the pattern that {rule}, the missing number of the circle where the "
    "overlapping part is {asked} should be {answer}.",
    rule="the numbers in the overlapping parts are the sum of the numbers in the "
    "corresponding circles",
    thing="number",
    compared="the number in each overlapping part to the sum of its two circles",
)


def sample(rng: random.Random) -> Scene:
    """Samples three different numbers; the first or the last is missing."""
    numbers = tuple(rng.sample(range(1, 10), 3))
    missing = rng.choice((0, 2))
    return Scene(numbers, missing, words.number_options(rng, numbers[missing]))


def fields(scene: Scene) -> dict[str, Any]:
    """Returns the circles, their sums, and the two circles that are known."""
    a, b, c = scene.values
    one, other, target = (b, c, a + b) if scene.missing == 0 else (a, b, b + c)
    sums = {"left": a + b, "right": b + c, "known": one + other, "asked": target}
    return {"numbers": scene.labels, "one": one, "other": other, **sums}


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws circles in a row, their numbers and sums."""
    canvas = Canvas(size)
    a, b, c = scene.values
    left, middle, right = scene.labels
    centers = [(136.2, 256), (256.2, 256), (376.2, 256)]
    for fill in (FILL, None):  # outlines over all fills
        for center in centers:
            canvas.circle(center, 94.3, fill, 0 if fill else 2)
    for share, label in [(0.25, left), (0.38, a + b), (0.5, middle), (0.62, b + c), (0.75, right)]:
        canvas.text((share * UNITS, 256), str(label), 32)
    return canvas.array()


KIND = Kind("venn", TEMPLATES, sample, fields, draw)
