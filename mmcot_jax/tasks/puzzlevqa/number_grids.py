"""Nine numbers in a grid: equal numbers have one colour, or every row has one sum."""

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import BLANK, COLORS, UNITS, Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Reasoning, Wording
from mmcot_jax.tasks.puzzlevqa.words import MISSING

PALE_BLUE = "#cfe2f3"

COLOR_QUESTION = (
    "What is the missing color if the part denoted with the question mark has the number {number}?"
)
COLOR_CAPTION = (
    "There is a 3x3 colored grid of numbers. The first row has number-color pair {first}, the "
    "second row is {second}, and the third and final row is {third}."
)
COLOR_EXPLANATION = (
    "We observe that the grid cells with number {a} is {color_a} in color, the grid cells with "
    "number {b} is {color_b} in color, the grid cells with number {c} is {color_c} in color, and "
    "the grid cells with number {d} is {color_d} in color. Thus, the pattern is that the grid "
    "cell with the same number will have the same color."
)
SUM_CAPTION = (
    "There is a 3x3 grid of numbers. The first row is {first}. The second row is {second}. The "
    "third and last row is {third}."
)
SUM_REASONING = Reasoning(
    wrong="Comparing the sum of each row, it does not fit the observed pattern.",
    right=(
        "Comparing the sum of each row, it matches well the pattern, that is each row adds up to "
        "the same value."
    ),
    thing="number",
    pattern="The pattern that the numbers in each row add up to the same value holds consistently",
)


class ColorScene(NamedTuple):
    """Cells row by row; one's colour is asked for."""

    numbers: tuple[int, ...]
    colors: tuple[str, ...]
    """As shown: `?` where the colour is missing."""
    missing: int
    """Index of the cell asked for."""
    mentioned: tuple[int, ...]
    """The four numbers, in the explanation's order."""
    answer: str
    options: tuple[str, ...]


class SumScene(NamedTuple):
    """Cells row by row; one's number is asked for."""

    numbers: tuple[int | str, ...]
    """As shown: `?` where the number is missing."""
    missing: int
    """Index of the cell asked for."""
    answer: str
    options: tuple[str, ...]


def _rows(cells: list[Any]) -> dict[str, list[Any]]:
    return {"first": cells[:3], "second": cells[3:6], "third": cells[6:]}


def _sample_color(rng: random.Random) -> ColorScene:
    color_of = dict(zip(rng.sample(range(1, 10), 4), rng.sample(list(COLORS), 4), strict=True))
    *_, asked = color_of
    # Four numbers for nine cells: twice each, and the one asked for once more.
    numbers = rng.sample([*color_of, *color_of, asked], 9)
    missing = rng.choice([index for index, number in enumerate(numbers) if number == asked])
    colors = [color_of[number] for number in numbers]
    return ColorScene(
        numbers=tuple(numbers),
        colors=(*colors[:missing], MISSING, *colors[missing + 1 :]),
        missing=missing,
        mentioned=tuple(rng.sample(list(color_of), 4)),
        answer=color_of[asked],
        options=tuple(rng.sample(list(color_of.values()), 4)),
    )


def _word_color(scene: ColorScene) -> Wording:
    asked = scene.numbers[scene.missing]
    color_of = dict(zip(scene.numbers, scene.colors, strict=True)) | {asked: scene.answer}
    seen = {name: number for name, number in zip("abcd", scene.mentioned, strict=True)}
    return Wording(
        question=COLOR_QUESTION.format(number=asked),
        options=scene.options,
        answer=scene.answer,
        caption=COLOR_CAPTION.format(**_rows([*zip(scene.numbers, scene.colors, strict=True)])),
        explanation=COLOR_EXPLANATION.format(
            **seen, **{f"color_{name}": color_of[number] for name, number in seen.items()}
        ),
        deduction=(
            "Based on the pattern that the grid cell with the same number will have the same "
            f"color, the missing color of the part with {asked} should be {scene.answer}."
        ),
    )


def _draw_color(scene: ColorScene, size: int) -> np.ndarray:
    # A margin of 30 round 512, the whole then reduced to 512.
    scale = UNITS / (UNITS + 60)
    cell = 170.5 * scale
    canvas = Canvas(size)
    for index, (number, color) in enumerate(zip(scene.numbers, scene.colors, strict=True)):
        row, column = divmod(index, 3)
        x, y = 30 * scale + column * cell, 30 * scale + row * cell
        fill = COLORS.get(color, BLANK)
        canvas.rectangle([x, y, x + cell, y + cell], fill, scale, radius=25.5 * scale)
        shown = MISSING if color == MISSING else str(number)
        canvas.text((x + cell / 2, y + cell / 2), shown, 60 * scale, "Light")
    return canvas.array()


def _parse_color(record: Mapping[str, Any]) -> ColorScene:
    caption = words.read(COLOR_CAPTION, record["caption"])
    seen = words.read(COLOR_EXPLANATION, record["explanation"])
    numbers, colors = zip(*caption["first"], *caption["second"], *caption["third"], strict=True)
    return ColorScene(
        numbers=numbers,
        colors=colors,
        missing=colors.index(MISSING),
        mentioned=tuple(int(seen[name]) for name in "abcd"),
        answer=record["answer"],
        options=words.record_options(record),
    )


def _fill_color(scene: ColorScene, option: str) -> ColorScene:
    words.check(option, scene.options)
    return scene._replace(colors=words.put(scene.colors, option))


def _reasoning_color(scene: ColorScene) -> Reasoning:
    compared = "Comparing the color of each grid cell to the number in it, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed number-color pattern.",
        right=f"{compared} matches well the number-color pattern.",
        thing="color",
        pattern=(
            "The pattern that the grid cells with the same number have the same color holds "
            "consistently"
        ),
    )


def _original_color(scene: ColorScene) -> Reasoning:
    # The study words this kind with the rule of the other one, misspelt.
    return SUM_REASONING._replace(
        pattern=(
            "The pattern that the numbers in each row addding up to the same value holds "
            "consistently"
        )
    )


def _sample_sum(rng: random.Random) -> SumScene:
    """Rows of equal sum with four different numbers at least; the answer may be any option.

    The released puzzles always give the answer as the last option; ours give it any place.
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
    return SumScene(
        numbers=(*numbers[:missing], MISSING, *numbers[missing + 1 :]),
        missing=missing,
        answer=str(answer),
        options=tuple(str(value) for value in rng.sample(offered, 4)),
    )


def _word_sum(scene: SumScene) -> Wording:
    rows = [[*scene.numbers[start : start + 3]] for start in (0, 3, 6)]
    asked = rows.pop(scene.missing // 3)
    first, second = rows
    return Wording(
        question="What is the missing number of the part denoted with a question mark?",
        options=scene.options,
        answer=scene.answer,
        caption=SUM_CAPTION.format(**_rows([*scene.numbers])),
        explanation=(
            f"We observe that {first} sums to {sum(first)}, and {second} also sums to "
            f"{sum(second)}. Thus, the pattern is that the numbers in each row add up to the same "
            "value."
        ),
        deduction=(
            "Based on the pattern that the numbers in each row add up to the same value, the "
            f"missing number of the row {asked} should be {scene.answer}."
        ),
    )


def _draw_sum(scene: SumScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    for index, number in enumerate(scene.numbers):
        row, column = divmod(index, 3)
        x, y = (column + 1) * 128, (row + 1) * 128
        canvas.rectangle([x - 64, y - 64, x + 64, y + 64], PALE_BLUE, 2.5, radius=25.5)
        canvas.text((x, y), str(number), 64)
    return canvas.array()


def _parse_sum(record: Mapping[str, Any]) -> SumScene:
    rows = words.read(SUM_CAPTION, record["caption"])
    numbers = (*rows["first"], *rows["second"], *rows["third"])
    return SumScene(
        numbers=numbers,
        missing=numbers.index(MISSING),
        answer=str(record["answer"]),
        options=words.record_options(record),
    )


def _fill_sum(scene: SumScene, option: str) -> SumScene:
    words.check(option, scene.options)
    return scene._replace(numbers=words.put(scene.numbers, int(option)))


def _reasoning_sum(scene: SumScene) -> Reasoning:
    return SUM_REASONING


GRID_NUMBER_COLOR = Kind(
    name="grid_number_color",
    sample=_sample_color,
    word=_word_color,
    draw=_draw_color,
    parse=_parse_color,
    fill=_fill_color,
    reasoning=_reasoning_color,
    original=_original_color,
)
GRID_NUMBER = Kind(
    name="grid_number",
    sample=_sample_sum,
    word=_word_sum,
    draw=_draw_sum,
    parse=_parse_sum,
    fill=_fill_sum,
    reasoning=_reasoning_sum,
)
