"""Puzzles of shapes in three sizes: around a missing one, or in a grid with one missing."""

import math
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import UNITS, Canvas, Point
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Reasoning, Wording
from mmcot_jax.tasks.puzzlevqa.words import MISSING

SIDES = {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6}
RING_RADII = {"small": 0.05 * UNITS, "medium": 0.10 * UNITS, "large": 0.15 * UNITS}
GRID_RADII = {"small": 0.05 * UNITS, "medium": 0.09 * UNITS, "large": 0.13 * UNITS}
PEACH = "#fce5cd"
MINT = "#d9ead3"

RING_QUESTION = (
    "What is the size of the missing shape denoted with a question mark if it is a {asked}?"
)
RING_CAPTION = (
    "There are 7 shapes with different sizes in the image, of which there is a missing {asked} in "
    "the center. The other shapes are arranged around the center, which are {shapes} in "
    "anti-clockwise order. Their corresponding sizes are {sizes}."
)
GRID_CAPTION = (
    "There are 9 shapes arranged in a grid with different sizes in the image, of which there is 1 "
    "missing shape. The first row is {first}, the second row is {second}, and the third row is "
    "{third}."
)
GRID_DEDUCTION = (
    "Based on the pattern that {pattern}, the size of the missing {asked} should be {answer}."
)


class RingScene(NamedTuple):
    """Three shapes with a size each, twice around the missing one."""

    shapes: tuple[str, str, str]
    sizes: tuple[str, str, str]
    asked: str
    """The missing shape."""
    options: tuple[str, ...]
    shown: str = MISSING


class GridScene(NamedTuple):
    """Nine shapes row by row: sizes progress along one axis, shapes change along the other."""

    shapes: tuple[str, ...]
    sizes: tuple[str, ...]
    missing: int
    options: tuple[str, ...]
    shown: str = MISSING


def _fill(scene: RingScene | GridScene, option: str) -> RingScene | GridScene:
    words.check(option, scene.options)
    return scene._replace(shown=option)


def _corners(sides: int, center: Point, radius: float) -> list[Point]:
    # A tip up for odd counts, a flat base for the square; the hexagon's tip points right.
    start = -math.pi / 2 if sides % 2 else -math.pi / 4 if sides == 4 else 0
    turns = [start + 2 * math.pi * corner / sides for corner in range(sides)]
    return [(center[0] + radius * math.cos(t), center[1] + radius * math.sin(t)) for t in turns]


# Around the missing one: each shape has one size.


def _sample_ring(rng: random.Random) -> RingScene:
    shapes = tuple(rng.sample(list(SIDES), 3))
    sizes = tuple(rng.sample(list(RING_RADII), 3))
    asked = rng.randrange(3)
    return RingScene(shapes, sizes, shapes[asked], words.options(rng, sizes[asked], sizes, 3))


def _word_ring(scene: RingScene) -> Wording:
    (a, b, c), (size_a, size_b, size_c) = scene.shapes, scene.sizes
    answer = scene.sizes[scene.shapes.index(scene.asked)]
    return Wording(
        question=RING_QUESTION.format(asked=scene.asked),
        options=scene.options,
        answer=answer,
        caption=RING_CAPTION.format(
            asked=scene.asked, shapes=[*scene.shapes] * 2, sizes=[*scene.sizes] * 2
        ),
        explanation=(
            f"We observe that the {a}s are {size_a} size, the {b}s are {size_b} size, and the {c}s "
            f"are {size_c} size. Hence, the pattern is that each shape appears with a distinct "
            "size."
        ),
        deduction=(
            "Based on the pattern that each shape appears with a distinct size, the size of the "
            f"missing {scene.asked} should be {answer}."
        ),
    )


def _draw_ring(scene: RingScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    center = (UNITS / 2, UNITS / 2)
    parts = list(zip(scene.shapes, scene.sizes, strict=True)) * 2
    for (shape, name), point in zip(parts, _corners(6, center, 170.5), strict=True):
        canvas.polygon(_corners(SIDES[shape], point, RING_RADII[name]), PEACH, 5)
    if scene.shown == MISSING:
        canvas.text(center, MISSING, 85.25)
    else:
        canvas.polygon(_corners(SIDES[scene.asked], center, RING_RADII[scene.shown]), PEACH, 5)
    return canvas.array()


def _parse_ring(record: Mapping[str, Any]) -> RingScene:
    caption = words.read(RING_CAPTION, record["caption"])
    return RingScene(
        shapes=tuple(caption["shapes"][:3]),
        sizes=tuple(caption["sizes"][:3]),
        asked=caption["asked"],
        options=words.record_options(record),
    )


def _reasoning_ring(scene: RingScene) -> Reasoning:
    compared = "Comparing the size of each shape to the others of the same shape, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed shape-size pattern.",
        right=f"{compared} matches well the shape-size pattern.",
        thing="size",
        pattern="The pattern that each shape appears with a distinct size holds consistently",
    )


# Grid: one axis progresses the size, the other changes the shape.


def _sample_grid(rng: random.Random) -> GridScene:
    shapes, sizes = rng.sample(list(SIDES), 3), list(GRID_RADII)
    rows = [[(shape, name) for shape in shapes] for name in sizes]
    for _ in range(rng.randrange(4)):
        rows = [list(row) for row in zip(*rows[::-1], strict=True)]  # a quarter turn
    cells = [cell for row in rows for cell in row]
    missing = rng.randrange(9)
    return GridScene(
        shapes=tuple(shape for shape, _ in cells),
        sizes=tuple(name for _, name in cells),
        missing=missing,
        options=words.options(rng, cells[missing][1], sizes, 3),
    )


def _pattern(scene: GridScene) -> tuple[str, str]:
    """What is observed, and the rule, by which axis the sizes progress along."""
    sizes, shapes = scene.sizes, scene.shapes
    by_row = sizes[0] == sizes[1]
    step, other = (3, 1) if by_row else (1, 3)
    x, y, z = (sizes[step * i] for i in range(3))
    a, b, c = (shapes[other * i] for i in range(3))
    along, across = ("row", "column") if by_row else ("column", "row")
    seen = (
        f"the {along}s contain {x} shapes, {y} shapes, and {z} shapes respectively. On the other "
        f"hand, the {across}s contain {a}s, {b}s, and {c}s respectively"
    )
    rule = (
        f"the shapes within each {across} are the same, while each {along} progresses the size of "
        "the shapes"
    )
    return seen, rule


def _word_grid(scene: GridScene) -> Wording:
    cells = [f"{name} {shape}" for shape, name in zip(scene.shapes, scene.sizes, strict=True)]
    asked, answer = scene.shapes[scene.missing], scene.sizes[scene.missing]
    cells[scene.missing] = MISSING if scene.shown == MISSING else f"{scene.shown} {asked}"
    seen, rule = _pattern(scene)
    return Wording(
        question="What is the size of the missing part denoted by a question mark?",
        options=scene.options,
        answer=answer,
        caption=GRID_CAPTION.format(first=cells[:3], second=cells[3:6], third=cells[6:]),
        explanation=f"We observe that {seen}. Hence, the pattern is that {rule}.",
        deduction=GRID_DEDUCTION.format(pattern=rule, asked=asked, answer=answer),
    )


def _draw_grid(scene: GridScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    for index, (shape, name) in enumerate(zip(scene.shapes, scene.sizes, strict=True)):
        center = ((index % 3 + 1) * UNITS / 4, (index // 3 + 1) * UNITS / 4)
        shown = scene.shown if index == scene.missing else name
        if shown == MISSING:
            canvas.text(center, MISSING, 64)
        else:
            canvas.polygon(_corners(SIDES[shape], center, GRID_RADII[shown]), MINT, 5)
    return canvas.array()


def _parse_grid(record: Mapping[str, Any]) -> GridScene:
    caption = words.read(GRID_CAPTION, record["caption"])
    labels = [*caption["first"], *caption["second"], *caption["third"]]
    asked = words.read(GRID_DEDUCTION, record["deduction"])["asked"]
    missing = labels.index(MISSING)
    labels[missing] = f"{record['answer']} {asked}"
    cells = [label.split() for label in labels]
    return GridScene(
        shapes=tuple(shape for _, shape in cells),
        sizes=tuple(name for name, _ in cells),
        missing=missing,
        options=words.record_options(record),
    )


def _reasoning_grid(scene: GridScene) -> Reasoning:
    compared = "Comparing the size of each shape along its row and its column, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed pattern.",
        right=f"{compared} matches well the observed pattern.",
        thing="size",
        pattern=f"The pattern that {_pattern(scene)[1]} holds consistently",
    )


SHAPE_SIZE_HEXAGON = Kind(
    name="shape_size_hexagon",
    sample=_sample_ring,
    word=_word_ring,
    draw=_draw_ring,
    parse=_parse_ring,
    fill=_fill,
    reasoning=_reasoning_ring,
)
SHAPE_SIZE_GRID = Kind(
    name="shape_size_grid",
    sample=_sample_grid,
    word=_word_grid,
    draw=_draw_grid,
    parse=_parse_grid,
    fill=_fill,
    reasoning=_reasoning_grid,
)
