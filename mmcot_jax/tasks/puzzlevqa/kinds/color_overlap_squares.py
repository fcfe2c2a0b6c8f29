"""Three squares in a diagonal, from the lower left up; where two overlap their colours mix."""

import math
import random
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import BLANK, COLORS, Canvas, Point
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates
from mmcot_jax.tasks.puzzlevqa.layouts import CENTER, corners
from mmcot_jax.tasks.puzzlevqa.words import MISSING

MIXES = {
    frozenset({"red", "yellow"}): "orange",
    frozenset({"blue", "yellow"}): "green",
    frozenset({"blue", "red"}): "purple",
}
LINE = 3.25
PLACES: dict[int, Point] = {0: (128, 384), 2: (384, 128)}
"""Position of the question mark when the first or the last square is missing."""

TEMPLATES = Templates(
    caption="There are 3 squares which overlap each other in the image. The color of the "
    "squares are {squares}. The part where the first and second squares overlap is "
    "{first_mix}. The part where the second and third squares overlap is {second_mix}.",
    explanation="We observe that the {left} and {right} squares overlap to form {known_mix}. "
    "Hence, the pattern is that {rule}.",
    deduction="Based on the pattern that {rule}, the missing color of the part which overlaps "
    "with {middle} to form {asked_mix} should be {answer}.",
    rule="the color of the part where two squares overlap is determined by mixing the two colors",
    thing="color",
    compared="the color of each overlap to the mix of the two squares' colors",
)


def sample(rng: random.Random) -> Scene:
    """Samples an order of red, yellow and blue; the first or the last is missing."""
    squares = tuple(rng.sample(["red", "yellow", "blue"], 3))
    missing = rng.choice([0, 2])
    return Scene(squares, missing, words.options(rng, squares[missing], COLORS))


def mixes(scene: Scene) -> tuple[str, str]:
    """Colours of the first and the second overlap."""
    return MIXES[frozenset(scene.values[:2])], MIXES[frozenset(scene.values[1:])]


def fields(scene: Scene) -> dict[str, Any]:
    """Returns squares and mixes; the explanation names the two squares that are known."""
    first, second = mixes(scene)
    known = scene.values[1:] if scene.missing == 0 else scene.values[:2]
    return {
        "squares": scene.labels,
        "first_mix": first,
        "second_mix": second,
        "left": known[0],
        "right": known[1],
        "known_mix": second if scene.missing == 0 else first,
        "middle": scene.values[1],
        "asked_mix": first if scene.missing == 0 else second,
    }


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws the squares, then their overlaps."""
    canvas = Canvas(size)
    first, second, third = (COLORS.get(color, BLANK) for color in scene.labels)
    low_mix, high_mix = (COLORS[color] for color in mixes(scene))
    # Corners go clockwise, the first at the upper right; the outer squares stand on a tip.
    middle = corners(CENTER, 128, 4, -math.pi / 4)
    high, low = (corners(middle[at], 128, 4, -math.pi / 2) for at in (0, 2))
    canvas.polygon(middle, second, LINE)
    canvas.polygon(high, third, LINE)
    canvas.polygon(low, first, LINE)
    canvas.polygon([middle[0], high[2], high[3]], high_mix, LINE)
    canvas.polygon([middle[2], low[0], low[1]], low_mix, LINE)
    if scene.shown == MISSING:
        canvas.text(PLACES[scene.missing], MISSING, 51)
    return canvas.array()


KIND = Kind("color_overlap_squares", TEMPLATES, sample, fields, draw)
