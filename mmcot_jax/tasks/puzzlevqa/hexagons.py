"""A hexagon of six triangles; opposite ones have the same colour."""

import math
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import BLANK, COLORS, UNITS, Canvas, Point
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Reasoning, Wording
from mmcot_jax.tasks.puzzlevqa.words import MISSING

SIDE = 170.5
"""Of the hexagon, and so of its triangles."""

CAPTION = (
    "There is a hexagon split into six parts with the colors {colors} in an anti-clockwise order."
)


class HexagonScene(NamedTuple):
    """Triangles anti-clockwise from the top; one's colour is asked for."""

    colors: tuple[str, ...]
    """As shown: `?` where the colour is missing."""
    missing: int
    """Index of the triangle asked for."""
    answer: str
    options: tuple[str, ...]


def triangles() -> list[tuple[Point, Point, Point]]:
    """Two corners of the hexagon and its centre, anti-clockwise from the top triangle."""
    middle = UNITS / 2
    # The y axis points down: anti-clockwise is a growing angle with the sine taken away.
    angles = [math.pi / 3 * (corner + 1) for corner in range(7)]
    corners = [(middle + SIDE * math.cos(a), middle - SIDE * math.sin(a)) for a in angles]
    return [(*corners[index : index + 2], (middle, middle)) for index in range(6)]


def triangle(canvas: Canvas, corners: tuple[Point, Point, Point], fill: str) -> Point:
    """Draws one of the six parts, outline on its edges; its centroid."""
    canvas.polygon(corners, fill, 0)
    canvas.line([*corners, corners[0]], 4)
    return sum(x for x, _ in corners) / 3, sum(y for _, y in corners) / 3


def _sample(rng: random.Random) -> HexagonScene:
    colors = words.three_colors(rng) * 2
    missing = rng.randrange(6)
    return HexagonScene(
        colors=(*colors[:missing], MISSING, *colors[missing + 1 :]),
        missing=missing,
        answer=colors[missing],
        options=words.options(rng, colors[missing], COLORS),
    )


def _word(scene: HexagonScene) -> Wording:
    a, b = sorted(
        color for index, color in enumerate(scene.colors[:3]) if index != scene.missing % 3
    )
    return Wording(
        question="What is the missing color of the part denoted with a question mark?",
        options=scene.options,
        answer=scene.answer,
        caption=CAPTION.format(colors=[*scene.colors]),
        explanation=(
            f"We observe that a {a} part is opposite another {a} part, and a {b} part is opposite "
            f"another {b} part. Thus, the pattern is that the colors in opposite parts are the "
            "same."
        ),
        deduction=(
            "Based on the pattern that spatially opposite parts have the same color, the missing "
            f"color of the part which is opposite a {scene.answer} part should be {scene.answer}."
        ),
    )


def _draw(scene: HexagonScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    for corners, color in zip(triangles(), scene.colors, strict=True):
        centroid = triangle(canvas, corners, COLORS.get(color, BLANK))
        if color == MISSING:
            canvas.text(centroid, MISSING, 51)
    return canvas.array()


def _parse(record: Mapping[str, Any]) -> HexagonScene:
    colors = tuple(words.read(CAPTION, record["caption"])["colors"])
    return HexagonScene(
        colors=colors,
        missing=colors.index(MISSING),
        answer=record["answer"],
        options=words.record_options(record),
    )


def _fill(scene: HexagonScene, option: str) -> HexagonScene:
    words.check(option, scene.options)
    return scene._replace(colors=words.put(scene.colors, option))


def _reasoning(scene: HexagonScene) -> Reasoning:
    compared = "Comparing the colors of the opposite parts, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed pattern.",
        right=f"{compared} matches well the observed pattern.",
        thing="color",
        pattern="The pattern that spatially opposite parts have the same color holds consistently",
    )


COLOR_HEXAGON = Kind(
    name="color_hexagon",
    sample=_sample,
    word=_word,
    draw=_draw,
    parse=_parse,
    fill=_fill,
    reasoning=_reasoning,
)
