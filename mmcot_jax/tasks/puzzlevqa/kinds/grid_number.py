"""Nine numbers in a grid, row by row; every row has one sum."""

import random
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import layouts, words
from mmcot_jax.tasks.puzzlevqa.canvas import Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates

FILL = "#cfe2f3"

TEMPLATES = Templates(
    caption="There is a 3x3 grid of numbers. The first row is {first}. The second row is "
    "{second}. The third and last row is {third}.",
    explanation="We observe that {one} sums to {sum}, and {other} also sums to {sum}. Thus, "
    "the pattern is that {rule}.",
    deduction="Based on the pattern that {rule}, the missing number of the row {incomplete} should "
    "be {answer}.",
    rule="the numbers in each row add up to the same value",
    thing="number",
    compared="the sum of each row",
    match="pattern, that is each row adds up to the same value",
)


def sample(rng: random.Random) -> Scene:
    """Rows of equal sum with at least four different numbers.

    The released puzzles always give the answer as the last option; here it has any place.
    """
    values = rng.sample(range(1, 10), 6)
    while True:
        numbers = rng.choices(values, k=9)
        sums = {sum(numbers[start : start + 3]) for start in (0, 3, 6)}
        if len(sums) == 1 and len(set(numbers)) >= 4:
            break
    missing = rng.randrange(9)
    answer = numbers[missing]
    offered = [*[value for value in values if value != answer][:3], answer]
    options = tuple(str(value) for value in rng.sample(offered, 4))
    return Scene(tuple(numbers), missing, options)


def fields(scene: Scene) -> dict[str, Any]:
    """Returns the rows, the two complete ones, and the row with the missing number."""
    rows = words.rows(scene.labels)
    complete = list(rows.values())
    incomplete = complete.pop(scene.missing // 3)
    one, other = complete
    return {**rows, "one": one, "other": other, "sum": sum(one), "incomplete": incomplete}


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws rounded cells with their numbers."""
    canvas = Canvas(size)
    for index, number in enumerate(scene.labels):
        x, y = layouts.cell(index)
        canvas.rectangle([x - 64, y - 64, x + 64, y + 64], FILL, 2.5, radius=25.5)
        canvas.text((x, y), str(number), 64)
    return canvas.array()


KIND = Kind("grid_number", TEMPLATES, sample, fields, draw)
