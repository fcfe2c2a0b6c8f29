"""Puzzles of shapes that change: one morphs into another, or is reflected across a line."""

import math
import random
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import UNITS, Canvas, Point
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Reasoning, Wording
from mmcot_jax.tasks.puzzlevqa.words import MISSING

SIDES = {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6}
OUTLINES = SIDES | {"circle": 720}
"""Corners of what a shape can morph from and into."""

RADIUS = 51
ROSE = "#f4cccb"
MINT = "#d9ead3"

MORPH_CAPTION = (
    "There are eight shapes arranged in a grid. The top left shape is a {first} and the bottom "
    "right shape is a {last}. The other shapes do not appear to regular shapes."
)
REFLECT_CAPTION = (
    "There are six shapes in the image separated by a line. In the top part there are {top}. In "
    "the bottom part there are {bottom}."
)


class MorphScene(NamedTuple):
    """Eight steps from one shape at the top left to another at the bottom right."""

    first: str
    last: str
    missing: int
    """0 where the first is asked for, 1 where the last is."""
    options: tuple[str, ...]
    shown: str = MISSING


class ReflectScene(NamedTuple):
    """Three shapes above a line, and the same three reflected below it."""

    shapes: tuple[str, str, str]
    missing: int
    """0 to 2 above, 3 to 5 below."""
    options: tuple[str, ...]
    shown: str = MISSING


def _fill(scene: MorphScene | ReflectScene, option: str) -> MorphScene | ReflectScene:
    words.check(option, scene.options)
    return scene._replace(shown=option)


# Morph: the shapes between two corners of the grid are blends of the two.


@cache
def _outline(name: str) -> np.ndarray:
    """360 points of the shape around 0, one a degree of its edges' share: float [360 2]."""
    sides = OUTLINES[name]
    place = np.arange(360) * sides / 360
    before = np.floor(place + 1e-9)
    share = (place - before)[:, None]
    turns = 2 * np.pi / sides * np.stack([before, before + 1])
    near, far = np.stack([np.cos(turns), np.sin(turns)], axis=-1) * RADIUS
    return (1 - share) * near + share * far


def _sample_morph(rng: random.Random) -> MorphScene:
    first, last = rng.sample(list(OUTLINES), 2)
    missing = rng.randrange(2)
    return MorphScene(first, last, missing, words.options(rng, (first, last)[missing], OUTLINES))


def _ends(scene: MorphScene) -> tuple[str, str]:
    """The two corners as shown."""
    return (scene.shown, scene.last) if scene.missing == 0 else (scene.first, scene.shown)


def _word_morph(scene: MorphScene) -> Wording:
    first, last = _ends(scene)
    known, answer, direction, place = (
        (scene.last, scene.first, "bottom right to top left", "top left")
        if scene.missing == 0
        else (scene.first, scene.last, "top left to bottom right", "bottom right")
    )
    pattern = f"the shapes are morphing between {known} and {answer} shapes"
    return Wording(
        question="What is the missing shape of the part denoted with a question mark?",
        options=scene.options,
        answer=answer,
        caption=MORPH_CAPTION.format(first=first, last=last),
        explanation=(
            f"We observe that from the {direction} direction, the shapes look like a {known} but "
            f"gradually change shape into something like a {answer}. Hence, the pattern is the "
            f"{pattern}."
        ),
        deduction=(
            f"Based on the pattern that {pattern}, the missing shape at the {place} should be a "
            f"{answer}."
        ),
    )


def _draw_morph(scene: MorphScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    # Quarters of the way, in the grid's rows; the middle cell is empty.
    steps = [[0, 1, 2], [1, None, 3], [2, 3, 4]]
    ends = _ends(scene)
    for row, quarters in enumerate(steps, start=1):
        for column, quarter in enumerate(quarters, start=1):
            center = (column * UNITS / 4, row * UNITS / 4)
            if quarter is None:
                continue
            if quarter == 4 * scene.missing:
                _end(canvas, center, ends[scene.missing])
            else:
                share = quarter / 4
                blend = (1 - share) * _outline(scene.first) + share * _outline(scene.last)
                _morphed(canvas, center, blend)
    return canvas.array()


def _end(canvas: Canvas, center: Point, shown: str) -> None:
    if shown == MISSING:
        canvas.text(center, MISSING, 64)
    else:
        _morphed(canvas, center, _outline(shown))


def _morphed(canvas: Canvas, center: Point, outline: np.ndarray) -> None:
    canvas.polygon([(x, y) for x, y in (outline + center).tolist()], ROSE, 3.25)


def _parse_morph(record: Mapping[str, Any]) -> MorphScene:
    caption = words.read(MORPH_CAPTION, record["caption"])
    ends = (caption["first"], caption["last"])
    first, last = words.put(ends, record["answer"])
    return MorphScene(first, last, ends.index(MISSING), words.record_options(record))


def _reasoning_morph(scene: MorphScene) -> Reasoning:
    known, answer = (scene.first, scene.last) if scene.missing else (scene.last, scene.first)
    compared = "Comparing the shape in the corner to the shapes that lead up to it, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed morphing pattern.",
        right=f"{compared} matches well the morphing pattern.",
        thing="shape",
        pattern=(
            f"The pattern that the shapes are morphing between {known} and {answer} shapes holds "
            "consistently"
        ),
    )


# Reflection: each shape above the line has its mirror image below.


def _sample_reflect(rng: random.Random) -> ReflectScene:
    shapes = tuple(rng.sample(list(SIDES), 3))
    missing = rng.randrange(6)
    return ReflectScene(shapes, missing, words.options(rng, shapes[missing % 3], SIDES))


def _labels(scene: ReflectScene) -> list[str]:
    return [scene.shown if i == scene.missing else n for i, n in enumerate(scene.shapes * 2)]


def _word_reflect(scene: ReflectScene) -> Wording:
    labels = _labels(scene)
    answer = scene.shapes[scene.missing % 3]
    # Four shapes, three of them here: the first two by name, the one asked for among them.
    first, second, _ = sorted(scene.shapes)
    return Wording(
        question="What is the missing shape denoted by a question mark?",
        options=scene.options,
        answer=answer,
        caption=REFLECT_CAPTION.format(top=labels[:3], bottom=labels[3:]),
        explanation=(
            f"We observe that the {first} is reflected across the line as a {first}. Similarly, "
            f"the {second} is reflected as a {second}. Hence, the pattern is that each shape in "
            "the top part is reflected in the bottom part."
        ),
        deduction=(
            "Based on the pattern that each shape in the top part is reflected in the bottom part, "
            f"the missing shape which is reflected from a {answer} part should be a {answer}."
        ),
    )


def _draw_reflect(scene: ReflectScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    canvas.line([(UNITS / 8, UNITS / 2), (UNITS * 7 / 8, UNITS / 2)], 2.5)
    for index, name in enumerate(_labels(scene)):
        center = ((index % 3 + 1) * UNITS / 4, 170.5 if index < 3 else 341.25)
        if name == MISSING:
            _dotted(canvas, center)
        else:
            canvas.polygon(_mirrored(SIDES[name], center, index >= 3), MINT, 2.5)
    return canvas.array()


def _mirrored(sides: int, center: Point, below: bool) -> list[Point]:
    # Clockwise from the top; even counts stand on a side, odd ones on a side above the line only.
    step = 2 * math.pi / sides
    start = (0 if sides % 2 else math.pi / 2 - step / 2) + (math.pi if below else 0)
    turns = [start + step * corner for corner in range(sides)]
    return [(center[0] + RADIUS * math.sin(t), center[1] - RADIUS * math.cos(t)) for t in turns]


def _dotted(canvas: Canvas, center: Point) -> None:
    canvas.text(center, MISSING, 51)
    canvas.circle(center, RADIUS, None, 2.5)
    for dot in range(16):
        turn = math.pi / 8 * dot
        point = (center[0] + RADIUS * math.cos(turn), center[1] + RADIUS * math.sin(turn))
        canvas.circle(point, 5, "white", 0)


def _parse_reflect(record: Mapping[str, Any]) -> ReflectScene:
    caption = words.read(REFLECT_CAPTION, record["caption"])
    labels = [*caption["top"], *caption["bottom"]]
    missing = labels.index(MISSING)
    shapes = words.put(tuple(labels[:3]), record["answer"])
    return ReflectScene(shapes, missing, words.record_options(record))


def _reasoning_reflect(scene: ReflectScene) -> Reasoning:
    compared = "Comparing each shape in the top part to the one below it, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed reflection pattern.",
        right=f"{compared} matches well the reflection pattern.",
        thing="shape",
        pattern=(
            "The pattern that each shape in the top part is reflected in the bottom part holds "
            "consistently"
        ),
    )


SHAPE_MORPH = Kind(
    name="shape_morph",
    sample=_sample_morph,
    word=_word_morph,
    draw=_draw_morph,
    parse=_parse_morph,
    fill=_fill,
    reasoning=_reasoning_morph,
)
SHAPE_REFLECT = Kind(
    name="shape_reflect",
    sample=_sample_reflect,
    word=_word_reflect,
    draw=_draw_reflect,
    parse=_parse_reflect,
    fill=_fill,
    reasoning=_reasoning_reflect,
)
