"""Nine circles in a grid: corners share a colour or a size, so do the centre's neighbours."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import COLORS, Canvas, Point
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Reasoning, Wording
from mmcot_jax.tasks.puzzlevqa.words import MISSING

RADII = {"small": 17.0, "medium": 25.5, "large": 51.0}
PALE_YELLOW = "#fff2cc"

# [corner side corner | side center side | corner side corner]
ROLES = (0, 1, 0, 1, 2, 1, 0, 1, 0)
PLACES = ("at the corner", "adjacent to the center")

COLOR_CAPTION = (
    "There are circles with different colors arranged with a grid formation in the image. The "
    "colors in the first row are {first}, the colors in the second row are {second}, and the "
    "colors in the third row are {third}."
)
SIZE_CAPTION = (
    "There are circles arranged in a grid formation with varying sizes in the image. The sizes in "
    "the first row are {first}, the sizes in the second row are {second}, and the sizes in the "
    "third row are {third}."
)


class GridScene(NamedTuple):
    """Circles in the caption's order, which starts at the picture's lower right and goes up."""

    labels: tuple[str, ...]
    """Colours or sizes as shown: `?` where one is missing."""
    values: tuple[str, str, str]
    """Of the corners, the centre's neighbours and the centre."""
    missing: int
    """Index of the circle asked for."""
    options: tuple[str, ...]

    @property
    def answer(self) -> str:
        """The missing colour or size."""
        return self.values[ROLES[self.missing]]


def _center(index: int) -> Point:
    column, row = divmod(8 - index, 3)
    return (column + 1) * 128, (row + 1) * 128


def _sample(rng: random.Random, values: Sequence[str], names: Sequence[str], k: int) -> GridScene:
    missing = rng.choice([index for index in range(9) if index != 4])
    labels = [values[role] for role in ROLES]
    return GridScene(
        labels=(*labels[:missing], MISSING, *labels[missing + 1 :]),
        values=tuple(values),
        missing=missing,
        options=words.options(rng, values[ROLES[missing]], names, k),
    )


def _rows(labels: tuple[str, ...]) -> dict[str, list[str]]:
    return {"first": [*labels[:3]], "second": [*labels[3:6]], "third": [*labels[6:]]}


def _parse(template: str, record: Mapping[str, Any]) -> GridScene:
    rows = words.read(template, record["caption"])
    labels = (*rows["first"], *rows["second"], *rows["third"])
    whole = words.put(labels, record["answer"])
    return GridScene(
        labels=labels,
        values=(whole[0], whole[1], whole[4]),
        missing=labels.index(MISSING),
        options=words.record_options(record),
    )


def _fill(scene: GridScene, option: str) -> GridScene:
    words.check(option, scene.options)
    return scene._replace(labels=words.put(scene.labels, option))


def _sample_color(rng: random.Random) -> GridScene:
    return _sample(rng, words.three_colors(rng), list(COLORS), 4)


def _word_color(scene: GridScene) -> Wording:
    corner, side, center = scene.values
    pattern = (
        "that the circles alternate in color depending on if they are at the corner or "
        "adjacent to the center"
    )
    return Wording(
        question="What is the color of the missing part denoted with a question mark?",
        options=scene.options,
        answer=scene.answer,
        caption=COLOR_CAPTION.format(**_rows(scene.labels)),
        explanation=(
            f"We observe that the circles at the corners are {corner}, while the circles directly "
            f"adjacent to the center are {side}. Only the center circle is {center}. "
            f"Hence, the pattern is {pattern}."
        ),
        deduction=(
            f"Based on the pattern {pattern}, the missing color of the part that is "
            f"{PLACES[ROLES[scene.missing]]} should be {scene.answer}."
        ),
    )


def _draw_color(scene: GridScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    for index, color in enumerate(scene.labels):
        if color == MISSING:
            canvas.text(_center(index), MISSING, 51)
        else:
            canvas.circle(_center(index), 51, COLORS[color], 2.5)
    return canvas.array()


def _parse_color(record: Mapping[str, Any]) -> GridScene:
    return _parse(COLOR_CAPTION, record)


def _reasoning_color(scene: GridScene) -> Reasoning:
    compared = "Comparing the colors of the circles at the corners and adjacent to the center, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed pattern.",
        right=f"{compared} matches well the observed pattern.",
        thing="circle",
        pattern=(
            "The pattern that the circles alternate in color depending on if they are at the "
            "corner or adjacent to the center holds consistently"
        ),
    )


def _sample_size(rng: random.Random) -> GridScene:
    return _sample(rng, rng.sample(list(RADII), 3), list(RADII), 3)


def _word_size(scene: GridScene) -> Wording:
    corner, side, center = scene.values
    pattern = (
        "that the circles alternate in size depending on if they are at the corner or "
        "adjacent to the center"
    )
    return Wording(
        question="What is the size of the missing part denoted with a question mark?",
        options=scene.options,
        answer=scene.answer,
        caption=SIZE_CAPTION.format(**_rows(scene.labels)),
        explanation=(
            f"We observe that the circles at the corners are {corner} size, while the circles "
            f"directly adjacent to the center are {side} size. Only the center circle is {center} "
            f"size. Hence, the pattern is {pattern}."
        ),
        deduction=(
            f"Based on the pattern {pattern}, the size of the missing part that is "
            f"{PLACES[ROLES[scene.missing]]} should be {scene.answer}."
        ),
    )


def _draw_size(scene: GridScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    for index, name in enumerate(scene.labels):
        if name == MISSING:
            canvas.text(_center(index), MISSING, 51)
        else:
            canvas.circle(_center(index), RADII[name], PALE_YELLOW, 2.5)
    return canvas.array()


def _parse_size(record: Mapping[str, Any]) -> GridScene:
    return _parse(SIZE_CAPTION, record)


def _reasoning_size(scene: GridScene) -> Reasoning:
    compared = "Comparing the sizes of the circles at the corners and adjacent to the center, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed pattern.",
        right=f"{compared} matches well the observed pattern.",
        thing="circle",
        pattern=(
            "The pattern that the circles alternate in size depending on if they are at the "
            "corner or adjacent to the center holds consistently"
        ),
    )


COLOR_GRID = Kind(
    name="color_grid",
    sample=_sample_color,
    word=_word_color,
    draw=_draw_color,
    parse=_parse_color,
    fill=_fill,
    reasoning=_reasoning_color,
)
SIZE_GRID = Kind(
    name="size_grid",
    sample=_sample_size,
    word=_word_size,
    draw=_draw_size,
    parse=_parse_size,
    fill=_fill,
    reasoning=_reasoning_size,
)
