"""Six polygons in a triangle: the number inside counts the sides, or the colour follows them."""

import math
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import BLANK, COLORS, UNITS, Canvas, Point
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Reasoning, Wording
from mmcot_jax.tasks.puzzlevqa.words import MISSING

SIDES = range(3, 10)
LILAC = "#d9d2e8"
RADIUS = 60

NUMBER_CAPTION = (
    "There are 6 numbered polygons arranged in a triangle with number {top} in the top row, "
    "{middle} in the middle row, and {bottom} in the bottom row."
)
NUMBER_DEDUCTION = (
    "Based on the pattern that the number inside the polygon represents the number of sides of "
    "the polygon, the missing number of the polygon with {sides} sides should be {sides}."
)
COLOR_CAPTION = (
    "There are 6 colored polygons arranged in a triangle with color {top} in the top row, "
    "{middle} in the middle row, and {bottom} in the bottom row."
)
COLOR_EXPLANATION = (
    "We observe that the polygon with {first} sides is {first_color} in color and the polygon "
    "with {second} sides is {second_color} in color. Thus, the pattern is that the polygons with "
    "the same number of sides have the same color."
)
COLOR_DEDUCTION = (
    "Based on the pattern that the polygons with the same number of sides have the same color, "
    "the missing color of the part with {sides} sides should be {color}."
)


class PolygonScene(NamedTuple):
    """Polygons anti-clockwise from the top: rows 0 | 1 5 | 2 3 4."""

    sides: tuple[int, ...]
    labels: tuple[int | str, ...]
    """Numbers or colours as shown: `?` where one is missing."""
    missing: int
    """Index of the polygon asked for."""
    answer: str
    options: tuple[str, ...]


def _center(index: int) -> Point:
    def quarters(value: float) -> float:
        return math.trunc(value * 4) / 4

    # Corners lie 175 pixels out, the middles of the sides half of that: one triangle of six.
    distance = 87.5 if index % 2 else 175
    angle = index * math.pi / 3
    middle = UNITS / 2
    return (
        middle - quarters(distance * math.sin(angle)),
        middle - quarters(distance * math.cos(angle)),
    )


def _polygon(canvas: Canvas, center: Point, sides: int, fill: str, width: int) -> None:
    angles = [2 * math.pi * side / sides for side in range(sides)]
    x, y = center
    corners = [(x + RADIUS * math.cos(a), y + RADIUS * math.sin(a)) for a in angles]
    canvas.polygon(corners, fill, width)


def _rows(labels: tuple[int | str, ...]) -> dict[str, list[int | str]]:
    top, left, *bottom, right = labels
    return {"top": [top], "middle": [left, right], "bottom": bottom}


def _labels(caption: Mapping[str, Any]) -> tuple[int | str, ...]:
    left, right = caption["middle"]
    return (*caption["top"], left, *caption["bottom"], right)


def _fill_number(scene: PolygonScene, option: str) -> PolygonScene:
    words.check(option, scene.options)
    return scene._replace(labels=words.put(scene.labels, int(option)))


def _fill_color(scene: PolygonScene, option: str) -> PolygonScene:
    words.check(option, scene.options)
    return scene._replace(labels=words.put(scene.labels, option))


def _sample_number(rng: random.Random) -> PolygonScene:
    sides = rng.sample(SIDES, 6)
    missing = rng.randrange(6)
    answer = str(sides[missing])
    return PolygonScene(
        sides=tuple(sides),
        labels=(*sides[:missing], MISSING, *sides[missing + 1 :]),
        missing=missing,
        answer=answer,
        options=words.options(rng, answer, map(str, SIDES)),
    )


def _word_number(scene: PolygonScene) -> Wording:
    seen = scene.sides[: scene.missing] + scene.sides[scene.missing + 1 :]
    *rest, last = [f"the polygon with {count} sides has the number {count}" for count in seen]
    return Wording(
        question="What is the missing number of the part denoted with a question mark?",
        options=scene.options,
        answer=scene.answer,
        caption=NUMBER_CAPTION.format(**_rows(scene.labels)),
        explanation=(
            f"We observe that {', '.join(rest)}, and {last}. Thus, the pattern is that the number "
            "inside the polygon represents the number of sides the polygon has."
        ),
        deduction=NUMBER_DEDUCTION.format(sides=scene.answer),
    )


def _draw_number(scene: PolygonScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    for index, (sides, number) in enumerate(zip(scene.sides, scene.labels, strict=True)):
        _polygon(canvas, _center(index), sides, LILAC, 3)
        canvas.text(_center(index), str(number), 50)
    return canvas.array()


def _parse_number(record: Mapping[str, Any]) -> PolygonScene:
    labels = _labels(words.read(NUMBER_CAPTION, record["caption"]))
    return PolygonScene(
        sides=words.put(labels, int(record["answer"])),
        labels=labels,
        missing=labels.index(MISSING),
        answer=str(record["answer"]),
        options=words.record_options(record),
    )


def _reasoning_number(scene: PolygonScene) -> Reasoning:
    compared = "Comparing the number of sides of each polygon to the number inside them, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed side-to-number pattern.",
        right=f"{compared} matches well the side-to-number pattern.",
        thing="number",
        pattern=(
            "The pattern that the number inside the polygon represents the number of sides of the "
            "polygon holds consistently"
        ),
    )


def _sample_color(rng: random.Random) -> PolygonScene:
    color_of = dict(zip(rng.sample(SIDES, 3), rng.sample(list(COLORS), 3), strict=True))
    sides = rng.sample(list(color_of) * 2, 6)
    missing = rng.randrange(6)
    colors = [color_of[count] for count in sides]
    return PolygonScene(
        sides=tuple(sides),
        labels=(*colors[:missing], MISSING, *colors[missing + 1 :]),
        missing=missing,
        answer=colors[missing],
        options=words.options(rng, colors[missing], COLORS),
    )


def _word_color(scene: PolygonScene) -> Wording:
    asked = scene.sides[scene.missing]
    color_of = dict(zip(scene.sides, scene.labels, strict=True)) | {asked: scene.answer}
    # The released order is that of a small Python set of integers: by remainder modulo 8.
    first, second = sorted(color_of.keys() - {asked}, key=lambda sides: sides % 8)
    return Wording(
        question="What is the missing color of the part denoted with a question mark?",
        options=scene.options,
        answer=scene.answer,
        caption=COLOR_CAPTION.format(**_rows(scene.labels)),
        explanation=COLOR_EXPLANATION.format(
            first=first,
            first_color=color_of[first],
            second=second,
            second_color=color_of[second],
        ),
        deduction=COLOR_DEDUCTION.format(sides=asked, color=scene.answer),
    )


def _draw_color(scene: PolygonScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    for index, (sides, color) in enumerate(zip(scene.sides, scene.labels, strict=True)):
        _polygon(canvas, _center(index), sides, COLORS.get(color, BLANK), 1)
        if color == MISSING:
            canvas.text(_center(index), MISSING, 50, "Light")
    return canvas.array()


def _parse_color(record: Mapping[str, Any]) -> PolygonScene:
    labels = _labels(words.read(COLOR_CAPTION, record["caption"]))
    seen = words.read(COLOR_EXPLANATION, record["explanation"])
    asked = words.read(COLOR_DEDUCTION, record["deduction"])
    sides_of = {
        seen["first_color"]: int(seen["first"]),
        seen["second_color"]: int(seen["second"]),
        asked["color"]: int(asked["sides"]),
    }
    return PolygonScene(
        sides=tuple(sides_of[color] for color in words.put(labels, record["answer"])),
        labels=labels,
        missing=labels.index(MISSING),
        answer=record["answer"],
        options=words.record_options(record),
    )


def _reasoning_color(scene: PolygonScene) -> Reasoning:
    compared = "Comparing the color of each polygon to its number of sides, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed side-to-color pattern.",
        right=f"{compared} matches well the side-to-color pattern.",
        thing="color",
        pattern=(
            "The pattern that the polygons with the same number of sides have the same color "
            "holds consistently"
        ),
    )


POLYGON_SIDES_NUMBER = Kind(
    name="polygon_sides_number",
    sample=_sample_number,
    word=_word_number,
    draw=_draw_number,
    parse=_parse_number,
    fill=_fill_number,
    reasoning=_reasoning_number,
)
POLYGON_SIDES_COLOR = Kind(
    name="polygon_sides_color",
    sample=_sample_color,
    word=_word_color,
    draw=_draw_color,
    parse=_parse_color,
    fill=_fill_color,
    reasoning=_reasoning_color,
)
