"""Three squares in a diagonal; two mix their colours where they overlap."""

import math
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import BLANK, COLORS, UNITS, Canvas, Point
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Reasoning, Wording
from mmcot_jax.tasks.puzzlevqa.words import MISSING

MIXES = {
    frozenset({"red", "yellow"}): "orange",
    frozenset({"blue", "yellow"}): "green",
    frozenset({"blue", "red"}): "purple",
}
RADIUS = 128
LINE = 3.25
PLACES: dict[int, Point] = {0: (128, 384), 2: (384, 128)}
"""Where the question mark stands when the first or the last square is asked for."""

CAPTION = (
    "There are 3 squares which overlap each other in the image. The color of the squares are "
    "{squares}. The part where the first and second squares overlap is {first_mix}. The part "
    "where the second and third squares overlap is {second_mix}."
)


class SquaresScene(NamedTuple):
    """Squares from the lower left to the upper right; the first or the last is asked for."""

    squares: tuple[str, str, str]
    """As shown: `?` where the colour is missing."""
    mixes: tuple[str, str]
    """Where the first and second, and the second and third overlap."""
    missing: int
    """0 or 2."""
    answer: str
    options: tuple[str, ...]


def _sample(rng: random.Random) -> SquaresScene:
    squares = rng.sample(["red", "yellow", "blue"], 3)
    missing = rng.choice([0, 2])
    shown = list(squares)
    shown[missing] = MISSING
    return SquaresScene(
        squares=tuple(shown),
        mixes=(MIXES[frozenset(squares[:2])], MIXES[frozenset(squares[1:])]),
        missing=missing,
        answer=squares[missing],
        options=words.options(rng, squares[missing], COLORS),
    )


def _word(scene: SquaresScene) -> Wording:
    (left, right), mix, other = (
        (scene.squares[1:], scene.mixes[1], scene.mixes[0])
        if scene.missing == 0
        else (scene.squares[:2], scene.mixes[0], scene.mixes[1])
    )
    pattern = "the color of the part where two squares overlap is determined by mixing the two"
    return Wording(
        question="What is the missing color of the part denoted with a question mark?",
        options=scene.options,
        answer=scene.answer,
        caption=CAPTION.format(
            squares=[*scene.squares], first_mix=scene.mixes[0], second_mix=scene.mixes[1]
        ),
        explanation=(
            f"We observe that the {left} and {right} squares overlap to form {mix}. Hence, the "
            f"pattern is that {pattern} colors."
        ),
        deduction=(
            f"Based on the pattern that {pattern} colors, the missing color of the part which "
            f"overlaps with {scene.squares[1]} to form {other} should be {scene.answer}."
        ),
    )


def _square(center: Point, turn: float) -> list[Point]:
    """Corners, the first at the upper right and on clockwise, turned back by `turn` radians."""
    angles = [math.pi / 2 * corner - math.pi / 4 - turn for corner in range(4)]
    x, y = center
    return [(x + RADIUS * math.cos(a), y + RADIUS * math.sin(a)) for a in angles]


def _draw(scene: SquaresScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    first, second, third = (COLORS.get(color, BLANK) for color in scene.squares)
    low_mix, high_mix = (COLORS[color] for color in scene.mixes)
    middle = _square((UNITS / 2, UNITS / 2), 0.0)
    high, low = _square(middle[0], math.pi / 4), _square(middle[2], math.pi / 4)
    canvas.polygon(middle, second, LINE)
    canvas.polygon(high, third, LINE)
    canvas.polygon(low, first, LINE)
    canvas.polygon([middle[0], high[2], high[3]], high_mix, LINE)
    canvas.polygon([middle[2], low[0], low[1]], low_mix, LINE)
    if MISSING in scene.squares:
        canvas.text(PLACES[scene.missing], MISSING, 51)
    return canvas.array()


def _parse(record: Mapping[str, Any]) -> SquaresScene:
    caption = words.read(CAPTION, record["caption"])
    squares = tuple(caption["squares"])
    return SquaresScene(
        squares=squares,
        mixes=(caption["first_mix"], caption["second_mix"]),
        missing=squares.index(MISSING),
        answer=record["answer"],
        options=words.record_options(record),
    )


def _fill(scene: SquaresScene, option: str) -> SquaresScene:
    words.check(option, scene.options)
    return scene._replace(squares=words.put(scene.squares, option))


def _reasoning(scene: SquaresScene) -> Reasoning:
    compared = "Comparing the color of each overlap to the mix of the two squares' colors, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed pattern.",
        right=f"{compared} matches well the observed pattern.",
        thing="color",
        pattern=(
            "The pattern that the color of the part where two squares overlap is determined by "
            "mixing the two colors holds consistently"
        ),
    )


COLOR_OVERLAP_SQUARES = Kind(
    name="color_overlap_squares",
    sample=_sample,
    word=_word,
    draw=_draw,
    parse=_parse,
    fill=_fill,
    reasoning=_reasoning,
)
