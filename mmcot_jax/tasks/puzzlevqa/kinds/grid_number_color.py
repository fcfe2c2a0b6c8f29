"""Nine numbers in a coloured grid, row by row; equal numbers have one colour."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import BLANK, COLORS, UNITS, Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates, parse_scene
from mmcot_jax.tasks.puzzlevqa.words import MISSING

TEMPLATES = Templates(
    question="What is the missing {thing} if the part denoted with the question mark has the "
    "number {number}?",
    caption="There is a 3x3 colored grid of numbers. The first row has number-color pair {first}, "
    "the second row is {second}, and the third and final row is {third}.",
    explanation="We observe that the grid cells with number {a} is {color_a} in color, the grid "
    "cells with number {b} is {color_b} in color, the grid cells with number {c} is {color_c} in "
    "color, and the grid cells with number {d} is {color_d} in color. Thus, the pattern is that "
    "{rule}.",
    deduction="Based on the pattern that {rule}, the missing color of the part with {number} "
    "should be {answer}.",
    rule="the grid cell with the same number will have the same color",
    thing="color",
    compared="the color of each grid cell to the number in it",
    relation="number-color",
    conclusion="The pattern that the grid cells with the same number have the same color holds "
    "consistently",
)

# The study judges this kind by the rule of grid_number, misspelt.
ORIGINAL = TEMPLATES._replace(
    thing="number",
    compared="the sum of each row",
    relation="",
    match="pattern, that is each row adds up to the same value",
    conclusion="The pattern that the numbers in each row addding up to the same value holds "
    "consistently",
)


def sample(rng: random.Random) -> Scene:
    """Samples four coloured numbers; attributes are numbers, extra is their order of mention."""
    color_of = dict(zip(rng.sample(range(1, 10), 4), rng.sample(list(COLORS), 4), strict=True))
    *_, target = color_of
    # Four numbers for nine cells: twice each, and the number of the missing part once more.
    numbers = rng.sample([*color_of, *color_of, target], 9)
    missing = rng.choice([index for index, number in enumerate(numbers) if number == target])
    mentioned = tuple(rng.sample(list(color_of), 4))
    options = tuple(rng.sample(list(color_of.values()), 4))
    colors = tuple(color_of[number] for number in numbers)
    return Scene(colors, missing, options, attributes=tuple(numbers), extra=mentioned)


def fields(scene: Scene) -> dict[str, Any]:
    """Returns rows of (number, colour), the missing part's number, and every number's colour."""
    color_of = dict(zip(scene.attributes, scene.values, strict=True))
    return {
        **words.rows([*zip(scene.attributes, scene.labels, strict=True)]),
        "number": scene.attributes[scene.missing],
        **dict(zip("abcd", scene.extra, strict=True)),
        **{f"color_{x}": color_of[n] for x, n in zip("abcd", scene.extra, strict=True)},
    }


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws rounded cells with their numbers; the missing one is grey."""
    # A margin of 30 round 512, the whole then reduced to 512.
    scale = UNITS / (UNITS + 60)
    cell = 170.5 * scale
    canvas = Canvas(size)
    for index, (number, color) in enumerate(zip(scene.attributes, scene.labels, strict=True)):
        row, column = divmod(index, 3)
        x, y = 30 * scale + column * cell, 30 * scale + row * cell
        fill = COLORS.get(color, BLANK)
        canvas.rectangle([x, y, x + cell, y + cell], fill, scale, radius=25.5 * scale)
        label = MISSING if color == MISSING else str(number)
        canvas.text((x + cell / 2, y + cell / 2), label, 60 * scale, "Light")
    return canvas.array()


def parse_fields(caption: Mapping[str, Any], record: Mapping[str, Any]) -> Scene:
    """Reads colours as labels, numbers as attributes, and the order of mention."""
    pairs = [*caption["first"], *caption["second"], *caption["third"]]
    numbers, colors = zip(*pairs, strict=True)
    seen = words.parse(TEMPLATES.explanation, record["explanation"])
    mentioned = tuple(int(seen[name]) for name in "abcd")
    return parse_scene([*colors], record, attributes=numbers, extra=mentioned)


KIND = Kind("grid_number_color", TEMPLATES, sample, fields, draw, parse_fields, ORIGINAL)
