"""Seven rectangles in a row: the colour follows the height, or the number inside does."""

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import BLANK, COLORS, UNITS, Canvas, Point
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Reasoning, Wording
from mmcot_jax.tasks.puzzlevqa.words import MISSING

LENGTHS = ("short", "medium", "long")
STEP = UNITS / 8
"""Width of a rectangle, and half the height of the shortest."""

GREEN = "#d9ead3"

COLOR_CAPTION = (
    "There are 7 rectangles in the image with varying colors and lengths. The lengths from left "
    "to right are {lengths}. The colors from left to right are {colors}."
)
COLOR_EXPLANATION = (
    "We observe that the {first} rectangles are of {first_length} length and the {second} "
    "rectangles are of {second_length} length. Hence, the pattern is that the color of each "
    "rectangle corresponds to its length."
)
NUMBER_CAPTION = (
    "There are 7 rectangles in the image with varying lengths and numbers inside them. The "
    "numbers from left to right are {numbers}. The lengths from left to right are {lengths}."
)


class ColorScene(NamedTuple):
    """Rectangles from left to right; the colour of the last is asked for."""

    lengths: tuple[str, ...]
    colors: tuple[str, ...]
    """As shown: `?` where the colour is missing."""
    mentioned: tuple[str, str]
    """The two other colours, in the explanation's order."""
    answer: str
    options: tuple[str, ...]


class NumberScene(NamedTuple):
    """Rectangles from left to right; the number in the last is asked for."""

    lengths: tuple[str, ...]
    numbers: tuple[int | str, ...]
    """As shown: `?` where the number is missing."""
    answer: str
    options: tuple[str, ...]


def _rectangle(canvas: Canvas, index: int, length: str, fill: str) -> Point:
    x, y, half = (index + 1) * STEP, UNITS / 2, (LENGTHS.index(length) + 1) * STEP
    canvas.rectangle([x - STEP / 2, y - half, x + STEP / 2, y + half], fill, 2.5, radius=25.5)
    return x, y


def _sample_color(rng: random.Random) -> ColorScene:
    names = rng.sample(list(COLORS), 3)
    length_of = dict(zip(names, rng.sample(LENGTHS, 3), strict=True))
    answer, *others = names
    colors = [*rng.sample(names * 2, 6), answer]
    return ColorScene(
        lengths=tuple(length_of[color] for color in colors),
        colors=(*colors[:-1], MISSING),
        mentioned=tuple(rng.sample(others, 2)),
        answer=answer,
        options=words.options(rng, answer, COLORS),
    )


def _word_color(scene: ColorScene) -> Wording:
    first, second = scene.mentioned
    length_of = dict(zip(scene.colors[:-1], scene.lengths[:-1], strict=True))
    return Wording(
        question="What is the missing color of the part denoted with a question mark?",
        options=scene.options,
        answer=scene.answer,
        caption=COLOR_CAPTION.format(lengths=[*scene.lengths], colors=[*scene.colors]),
        explanation=COLOR_EXPLANATION.format(
            first=first,
            first_length=length_of[first],
            second=second,
            second_length=length_of[second],
        ),
        deduction=(
            "Based on the pattern that the color of each rectangle corresponds to its length, the "
            "missing color of the part denoted with a question mark should be "
            f"{scene.answer}."
        ),
    )


def _draw_color(scene: ColorScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    for index, (length, color) in enumerate(zip(scene.lengths, scene.colors, strict=True)):
        center = _rectangle(canvas, index, length, COLORS.get(color, BLANK))
        if color == MISSING:
            canvas.text(center, MISSING, 64, "Light")
    return canvas.array()


def _parse_color(record: Mapping[str, Any]) -> ColorScene:
    caption = words.read(COLOR_CAPTION, record["caption"])
    explanation = words.read(COLOR_EXPLANATION, record["explanation"])
    return ColorScene(
        lengths=tuple(caption["lengths"]),
        colors=tuple(caption["colors"]),
        mentioned=(explanation["first"], explanation["second"]),
        answer=record["answer"],
        options=words.record_options(record),
    )


def _fill_color(scene: ColorScene, option: str) -> ColorScene:
    words.check(option, scene.options)
    return scene._replace(colors=words.put(scene.colors, option))


def _reasoning_color(scene: ColorScene) -> Reasoning:
    compared = "Comparing the color of each rectangle to its length, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed color-length pattern.",
        right=f"{compared} matches well the color-length pattern.",
        thing="color",
        pattern=(
            "The pattern that the color of each rectangle corresponds to its length holds "
            "consistently"
        ),
    )


def _original_color(scene: ColorScene) -> Reasoning:
    return _reasoning_color(scene)._replace(thing="number")


def _sample_number(rng: random.Random) -> NumberScene:
    numbers = rng.sample([1, 2, 3] * 2, 6)
    answer = rng.choice([1, 2, 3])
    return NumberScene(
        lengths=tuple(LENGTHS[number - 1] for number in [*numbers, answer]),
        numbers=(*numbers, MISSING),
        answer=str(answer),
        options=tuple(rng.sample(["1", "2", "3", "4"], 4)),
    )


def _word_number(scene: NumberScene) -> Wording:
    return Wording(
        question="What is the missing number of the part denoted with a question mark?",
        options=scene.options,
        answer=scene.answer,
        caption=NUMBER_CAPTION.format(numbers=[*scene.numbers], lengths=[*scene.lengths]),
        explanation=(
            "We observe that the short rectangles are denoted as 1, the medium rectangles are "
            "denoted as 2, and the long rectangles are denoted as 3. Hence, the pattern is that "
            "the number in each rectangle corresponds to its length."
        ),
        deduction=(
            "Based on the pattern that the number in each rectangle corresponds to its length, "
            "the missing number of the rectangle with a question mark should be "
            f"{scene.answer}."
        ),
    )


def _draw_number(scene: NumberScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    for index, (length, number) in enumerate(zip(scene.lengths, scene.numbers, strict=True)):
        canvas.text(_rectangle(canvas, index, length, GREEN), str(number), 51)
    return canvas.array()


def _parse_number(record: Mapping[str, Any]) -> NumberScene:
    caption = words.read(NUMBER_CAPTION, record["caption"])
    return NumberScene(
        lengths=tuple(caption["lengths"]),
        numbers=tuple(caption["numbers"]),
        answer=str(record["answer"]),
        options=words.record_options(record),
    )


def _fill_number(scene: NumberScene, option: str) -> NumberScene:
    words.check(option, scene.options)
    return scene._replace(numbers=words.put(scene.numbers, int(option)))


def _reasoning_number(scene: NumberScene) -> Reasoning:
    compared = "Comparing the number in each rectangle to its length, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed number-length pattern.",
        right=f"{compared} matches well the number-length pattern.",
        thing="number",
        pattern=(
            "The pattern that the number in each rectangle corresponds to its length holds "
            "consistently"
        ),
    )


RECTANGLE_HEIGHT_COLOR = Kind(
    name="rectangle_height_color",
    sample=_sample_color,
    word=_word_color,
    draw=_draw_color,
    parse=_parse_color,
    fill=_fill_color,
    reasoning=_reasoning_color,
    original=_original_color,
)
RECTANGLE_HEIGHT_NUMBER = Kind(
    name="rectangle_height_number",
    sample=_sample_number,
    word=_word_number,
    draw=_draw_number,
    parse=_parse_number,
    fill=_fill_number,
    reasoning=_reasoning_number,
)
