"""Puzzles of sums and products: parts of a hexagon, triangles of circles, overlapping circles."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax.tasks.puzzlevqa import hexagons, words
from mmcot_jax.tasks.puzzlevqa.canvas import UNITS, Canvas, Point
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Reasoning, Wording
from mmcot_jax.tasks.puzzlevqa.words import MISSING

QUESTION = "What is the missing number of the part denoted with a question mark?"

PALE = {
    "blue": "#9ec5e8",
    "green": "#b6d7a8",
    "yellow": "#fee599",
    "red": "#ea9999",
    "purple": "#b4a7d6",
    "orange": "#f9cb9c",
}
"""Fills that a number stands out on."""

SKY = "#cfe2f3"

HEXAGON_CAPTION = (
    "There is a hexagon split into six parts with the colors {colors} in an anti-clockwise "
    "order. The parts are denoted with the numbers {numbers} respectively."
)
TRIANGLE_CAPTION = (
    "There are three groups of numbers with a triangle arrangement in the image. The first group "
    "is {first}, the second group is {second}, and the third group is {third}."
)
VENN_CAPTION = (
    "There are 3 overlapping circles containing the numbers {numbers}. The overlapping part "
    "between the first and second circle contains the number {left}. The overlapping part "
    "between the second and third circle contains the number {right}."
)


class HexagonScene(NamedTuple):
    """Parts anti-clockwise from the top; two of each colour, with one sum."""

    colors: tuple[str, ...]
    numbers: tuple[int, ...]
    missing: int
    options: tuple[str, ...]
    shown: str = MISSING


class TriangleScene(NamedTuple):
    """Three groups of three in the caption's order, each a factor, a factor and their product."""

    numbers: tuple[int, ...]
    missing: int
    options: tuple[str, ...]
    shown: str = MISSING


class VennScene(NamedTuple):
    """Numbers of the three circles; the overlaps hold the sums of neighbours."""

    numbers: tuple[int, int, int]
    missing: int
    options: tuple[str, ...]
    shown: str = MISSING


NumberScene = HexagonScene | TriangleScene | VennScene


def _offer(rng: random.Random, answer: int) -> tuple[str, ...]:
    # Below 10, 100 ...: the first power of ten that the answer does not exceed.
    limit = 10
    while answer > limit:
        limit *= 10
    return words.options(rng, str(answer), map(str, range(limit)))


def _labels(scene: NumberScene) -> list[int | str]:
    """Numbers as the caption gives them: `?`, or the option in its place."""
    shown = scene.shown if scene.shown == MISSING else int(scene.shown)
    return [shown if i == scene.missing else n for i, n in enumerate(scene.numbers)]


def _fill(scene: NumberScene, option: str) -> NumberScene:
    words.check(option, scene.options)
    return scene._replace(shown=option)


def _read(labels: Sequence[int | str], record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "numbers": words.put(tuple(labels), int(record["answer"])),
        "missing": labels.index(MISSING),
        "options": words.record_options(record),
    }


def _triangle(center: Point, radius: float) -> list[Point]:
    turns = [2 * math.pi * corner / 3 for corner in range(3)]
    return [(center[0] + radius * math.cos(t), center[1] + radius * math.sin(t)) for t in turns]


# Hexagon: parts of one colour add up to one sum.


def _sample_hexagon(rng: random.Random) -> HexagonScene:
    names, half = words.three_colors(rng), rng.sample(range(1, 10), 3)
    total = rng.randint(max(half) + 1, min(half) + 9)
    numbers = [*half, *(total - number for number in half)]
    parts = list(zip([*names, *names], numbers, strict=True))
    colors, numbers = zip(*rng.sample(parts, 6), strict=True)
    missing = rng.randrange(6)
    return HexagonScene(colors, numbers, missing, _offer(rng, numbers[missing]))


def _total(scene: HexagonScene) -> int:
    return sum(scene.numbers) // 3


def _word_hexagon(scene: HexagonScene) -> Wording:
    first, second, _ = sorted(set(scene.colors))
    answer, color, total = scene.numbers[scene.missing], scene.colors[scene.missing], _total(scene)
    return Wording(
        question=QUESTION,
        options=scene.options,
        answer=str(answer),
        caption=HEXAGON_CAPTION.format(colors=[*scene.colors], numbers=_labels(scene)),
        explanation=(
            f"We observe that the numbers in the {first} parts add up to {total}. Similarly, the "
            f"numbers in the {second} parts also add up to {total}. Thus, the pattern is that the "
            f"numbers in the parts of the same color add up to {total}."
        ),
        deduction=(
            "Based on the pattern that the numbers in the parts of the same color add up to "
            f"{total}, the missing number of the {color} part should be {answer}."
        ),
    )


def _draw_hexagon(scene: HexagonScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    parts = zip(hexagons.triangles(), scene.colors, _labels(scene), strict=True)
    for corners, color, label in parts:
        canvas.text(hexagons.triangle(canvas, corners, PALE[color]), str(label), 51)
    return canvas.array()


def _parse_hexagon(record: Mapping[str, Any]) -> HexagonScene:
    caption = words.read(HEXAGON_CAPTION, record["caption"])
    return HexagonScene(colors=tuple(caption["colors"]), **_read(caption["numbers"], record))


def _reasoning_hexagon(scene: HexagonScene) -> Reasoning:
    compared = "Comparing the sum of the numbers of the parts with the same color, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed pattern.",
        right=f"{compared} matches well the observed pattern.",
        thing="number",
        pattern=(
            "The pattern that the numbers in the parts of the same color add up to "
            f"{_total(scene)}, holds consistently"
        ),
    )


# Triangles: the rightmost number of a group is the product of the other two.


def _sample_triangle(rng: random.Random) -> TriangleScene:
    a, b, c, d, e, f = rng.sample(range(1, 10), 6)
    numbers = (a, b, a * b, c, d, c * d, e, f, e * f)
    missing = rng.randrange(9)
    return TriangleScene(numbers, missing, _offer(rng, numbers[missing]))


def _groups(scene: TriangleScene) -> list[list[int | str]]:
    labels = _labels(scene)
    return [labels[0:3], labels[3:6], labels[6:9]]


def _word_triangle(scene: TriangleScene) -> Wording:
    groups = _groups(scene)
    asked = groups[scene.missing // 3]
    (a, b, ab), (c, d, cd) = (group for group in groups if group is not asked)
    answer = scene.numbers[scene.missing]
    pattern = "the rightmost number in each group is the product of the other two numbers"
    return Wording(
        question=QUESTION,
        options=scene.options,
        answer=str(answer),
        caption=TRIANGLE_CAPTION.format(first=groups[0], second=groups[1], third=groups[2]),
        explanation=(
            f"We observe that the number {ab} is the product of {b} and {a}. Similarly, the "
            f"number {cd} is the product of {d} and {c}. Hence, the pattern is that {pattern}."
        ),
        deduction=(
            f"Based on the pattern that {pattern}, the missing number of the group {asked} should "
            f"be {answer}."
        ),
    )


def _draw_triangle(scene: TriangleScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    labels = iter(_labels(scene)[::-1])  # the caption reads the picture from its end
    for point in _triangle((UNITS / 2, UNITS / 2), UNITS / 4):
        corners = _triangle(point, UNITS / 10)
        canvas.polygon(corners, None, 2.5)
        for corner in corners:
            canvas.circle(corner, UNITS / 16, SKY, 2.5)
            canvas.text(corner, str(next(labels)), 36.5)
    return canvas.array()


def _parse_triangle(record: Mapping[str, Any]) -> TriangleScene:
    caption = words.read(TRIANGLE_CAPTION, record["caption"])
    labels = [*caption["first"], *caption["second"], *caption["third"]]
    return TriangleScene(**_read(labels, record))


def _reasoning_triangle(scene: TriangleScene) -> Reasoning:
    compared = (
        "Comparing the rightmost number of each group to the product of the other two numbers, it"
    )
    return Reasoning(
        wrong=f"{compared} does not fit the observed pattern.",
        right=f"{compared} matches well the observed pattern.",
        thing="number",
        pattern=(
            "The pattern that the rightmost number in each group is the product of the other two "
            "numbers holds consistently"
        ),
    )


# Overlapping circles: an overlap holds the sum of its two circles.


def _sample_venn(rng: random.Random) -> VennScene:
    a, b, c = rng.sample(range(1, 10), 3)
    missing = rng.choice((0, 2))
    return VennScene((a, b, c), missing, _offer(rng, (a, b, c)[missing]))


def _word_venn(scene: VennScene) -> Wording:
    a, b, c = scene.numbers
    seen, asked = ((b, c), a + b) if scene.missing == 0 else ((a, b), b + c)
    first, second = seen
    return Wording(
        question=QUESTION,
        options=scene.options,
        answer=str(scene.numbers[scene.missing]),
        caption=VENN_CAPTION.format(numbers=_labels(scene), left=a + b, right=b + c),
        explanation=(
            f"We observe that the circles with {first} and {second} overlap to form the part "
            f"{first + second}, where {first} + {second} = {first + second}. Hence, the pattern "
            "is most likely that the numbers in the overlapping parts are the sum of the numbers "
            "in the corresponding circles."
        ),
        deduction=(
            "Based on the pattern that the numbers in the overlapping parts are the sum of the "
            "numbers in the corresponding circles, the missing number of the circle where the "
            f"overlapping part is {asked} should be {scene.numbers[scene.missing]}."
        ),
    )


def _draw_venn(scene: VennScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    a, b, c = scene.numbers
    left, middle, right = _labels(scene)
    centers = [(136.2, 256), (256.2, 256), (376.2, 256)]
    for fill in (SKY, None):  # outlines over all fills
        for center in centers:
            canvas.circle(center, 94.3, fill, 0 if fill else 2)
    for share, label in [(0.25, left), (0.38, a + b), (0.5, middle), (0.62, b + c), (0.75, right)]:
        canvas.text((share * UNITS, 256), str(label), 32)
    return canvas.array()


def _parse_venn(record: Mapping[str, Any]) -> VennScene:
    caption = words.read(VENN_CAPTION, record["caption"])
    return VennScene(**_read(caption["numbers"], record))


def _reasoning_venn(scene: VennScene) -> Reasoning:
    compared = "Comparing the number in each overlapping part to the sum of its two circles, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed pattern.",
        right=f"{compared} matches well the observed pattern.",
        thing="number",
        pattern=(
            "The pattern that the numbers in the overlapping parts are the sum of the numbers in "
            "the corresponding circles holds consistently"
        ),
    )


COLOR_NUMBER_HEXAGON = Kind(
    name="color_number_hexagon",
    sample=_sample_hexagon,
    word=_word_hexagon,
    draw=_draw_hexagon,
    parse=_parse_hexagon,
    fill=_fill,
    reasoning=_reasoning_hexagon,
)
TRIANGLE = Kind(
    name="triangle",
    sample=_sample_triangle,
    word=_word_triangle,
    draw=_draw_triangle,
    parse=_parse_triangle,
    fill=_fill,
    reasoning=_reasoning_triangle,
)
VENN = Kind(
    name="venn",
    sample=_sample_venn,
    word=_word_venn,
    draw=_draw_venn,
    parse=_parse_venn,
    fill=_fill,
    reasoning=_reasoning_venn,
)
