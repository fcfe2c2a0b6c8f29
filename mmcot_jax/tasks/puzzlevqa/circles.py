"""Puzzles of circles: numbers that follow size, shades that follow size, a spiral of sizes."""

import math
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import BLANK, UNITS, Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Reasoning, Wording
from mmcot_jax.tasks.puzzlevqa.words import MISSING

MIDDLE = UNITS / 2
CREAM = "#fff2cc"

SHADES = {
    "blue": ("#cfe2f3", "#9fc4e8", "#6fa7dc", "#3d85c5"),
    "green": ("#d9ead3", "#b6d7a8", "#92c47d", "#69a84f"),
    "yellow": ("#fff2cc", "#fee599", "#ffd966", "#f0c232"),
    "red": ("#f4cccc", "#ea9999", "#e06666", "#cc0101"),
    "purple": ("#d9d2e9", "#b3a7d6", "#8d7cc3", "#664ea6"),
    "orange": ("#fbe5cd", "#f9ca9c", "#f6b16b", "#e69139"),
}
"""Four fills a colour, light to dark."""

TONES = {
    "darker": ("very light", "light", "medium", "dark"),
    "lighter": ("light", "medium", "dark", "very dark"),
}
"""Names of the four fills, light to dark, where rings get darker (or lighter) inwards."""

RING_SIZES = ("extra large", "large", "medium", "small")

SIZES = {"small": (25.5, 56.75, 0), "medium": (38.5, 128, 20), "large": (51.25, 204.75, 45)}
"""Spiral: radius, distance from the middle, degrees the arm has turned."""

NUMBERS_CAPTION = (
    "There are 6 numbered circles with varying sizes arranged in a ring with number {numbers} in "
    "a clockwise order."
)
RINGS_CAPTION = (
    "There are circles of various sizes and colors in the image. The circles are {sizes} size, "
    "and their colors are {colors}."
)
SPIRAL_CAPTION = (
    "There are circles arranged in a spiral with three arms. The first arm has circles of sizes "
    "{first}, the second arm has circles of sizes {second}, and the third arm has circles of "
    "sizes {third}."
)


class NumbersScene(NamedTuple):
    """Six circles clockwise from the right, as large as their numbers say."""

    numbers: tuple[int, ...]
    missing: int
    options: tuple[str, ...]
    shown: str = MISSING


class RingsScene(NamedTuple):
    """Four concentric circles of one colour; the shade of the smallest is asked for."""

    color: str
    trend: str
    """"darker" or "lighter", from the outside in."""
    order: tuple[str, ...]
    """The sizes in the order the caption names them."""
    options: tuple[str, ...]
    shown: str = MISSING


class SpiralScene(NamedTuple):
    """Nine circles: small, medium, large along three arms, turned by a whole."""

    missing: int
    """3 * size + arm."""
    turn: int
    """Degrees clockwise; the caption does not tell it."""
    options: tuple[str, ...]


def _fill(scene: NumbersScene | RingsScene, option: str) -> NumbersScene | RingsScene:
    words.check(option, scene.options)
    return scene._replace(shown=option)


# Numbers: the larger the number the larger the circle.


def _sample_numbers(rng: random.Random) -> NumbersScene:
    numbers = tuple(rng.sample(rng.sample(range(1, 7), 3) * 2, 6))
    missing = rng.randrange(6)
    options = words.options(rng, str(numbers[missing]), map(str, range(1, 7)))
    return NumbersScene(numbers, missing, options)


def _quarters(value: float) -> float:
    """Cut to whole sub-pixels, as the released circles are."""
    return math.trunc(value * 4) / 4


def _labels(scene: NumbersScene) -> list[int | str]:
    shown = scene.shown if scene.shown == MISSING else int(scene.shown)
    return [shown if i == scene.missing else n for i, n in enumerate(scene.numbers)]


def _word_numbers(scene: NumbersScene) -> Wording:
    answer = scene.numbers[scene.missing]
    return Wording(
        question="What is the missing number of the part denoted with a question mark?",
        options=scene.options,
        answer=str(answer),
        caption=NUMBERS_CAPTION.format(numbers=_labels(scene)),
        explanation=(
            "We observe that the size of the circle is related to the number in the circle. The "
            f"circle with the largest value {max(scene.numbers)} seems to be the biggest and the "
            f"circle with the smallest value {min(scene.numbers)} seems to be the smallest. Thus, "
            "the pattern is that the larger the number the larger the circle."
        ),
        deduction=(
            "Based on the pattern that the larger the number the larger the circle, the missing "
            f"number of the circle denoted with a question mark should be {answer}."
        ),
    )


def _draw_numbers(scene: NumbersScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    for i, (number, label) in enumerate(zip(scene.numbers, _labels(scene), strict=True)):
        turn = math.pi / 3 * i
        center = (
            MIDDLE + _quarters(150 * math.cos(turn)),
            MIDDLE + _quarters(150 * math.sin(turn)),
        )
        canvas.circle(center, 50 + 3.75 * number, BLANK, 1)
        canvas.text(center, str(label), 50, "Light")
    return canvas.array()


def _parse_numbers(record: Mapping[str, Any]) -> NumbersScene:
    labels = tuple(words.read(NUMBERS_CAPTION, record["caption"])["numbers"])
    return NumbersScene(
        numbers=words.put(labels, int(record["answer"])),
        missing=labels.index(MISSING),
        options=words.record_options(record),
    )


def _reasoning_numbers(scene: NumbersScene) -> Reasoning:
    compared = "Comparing the size of each circle to the number inside it, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed size-to-number pattern.",
        right=f"{compared} matches well the size-to-number pattern.",
        thing="number",
        pattern="The pattern that the larger the number the larger the circle holds consistently",
    )


# Rings: shades grow darker, or lighter, inwards.


def _sample_rings(rng: random.Random) -> RingsScene:
    color = rng.choice(list(SHADES))
    trend = rng.choice(list(TONES))
    order = tuple(rng.sample(RING_SIZES, 4))
    ends = [f"light {color}", f"dark {color}"]
    others = [f"{tone} {name}" for tone in ("light", "dark") for name in SHADES if name != color]
    return RingsScene(color, trend, order, tuple(rng.sample(ends + rng.sample(others, 2), 4)))


def _tones(scene: RingsScene) -> dict[str, str]:
    """Ring size -> name of its shade, from the outside in; the last is the answer."""
    tones = TONES[scene.trend] if scene.trend == "darker" else TONES[scene.trend][::-1]
    return {s: f"{tone} {scene.color}" for s, tone in zip(RING_SIZES, tones, strict=True)}


def _word_rings(scene: RingsScene) -> Wording:
    tones = _tones(scene)
    shown = tones | {"small": scene.shown}
    pattern = f"the circles become {scene.trend} as they become smaller"
    return Wording(
        question="What is the missing color of the part denoted with a question mark?",
        options=scene.options,
        answer=tones["small"],
        caption=RINGS_CAPTION.format(
            sizes=[*scene.order], colors=[shown[name] for name in scene.order]
        ),
        explanation=(
            f"We observe that the largest circle is {tones['extra large']} color, and the smaller "
            f"circles change color from {tones['large']} to {tones['medium']}. Hence, the pattern "
            f"is that {pattern}."
        ),
        deduction=(
            f"Based on the pattern that {pattern}, the missing color of the smallest circle "
            f"denoted with a question mark should be {tones['small']}."
        ),
    )


def _shade(scene: RingsScene, name: str) -> str:
    tone, color = name.rsplit(" ", 1)
    return SHADES[color][TONES[scene.trend].index(tone)]


def _draw_rings(scene: RingsScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    tones = _tones(scene) | {"small": scene.shown}
    for radius, name in zip((204.8, 153.6, 102.4, 51.2), tones.values(), strict=True):
        fill = BLANK if name == MISSING else _shade(scene, name)
        canvas.circle((MIDDLE, MIDDLE), radius, fill, 3.25)
    if scene.shown == MISSING:
        canvas.text((MIDDLE, MIDDLE), MISSING, 51)
    return canvas.array()


def _parse_rings(record: Mapping[str, Any]) -> RingsScene:
    caption = words.read(RINGS_CAPTION, record["caption"])
    tone, color = record["answer"].split()
    return RingsScene(
        color=color,
        trend="darker" if tone == "dark" else "lighter",
        order=tuple(caption["sizes"]),
        options=words.record_options(record),
    )


def _reasoning_rings(scene: RingsScene) -> Reasoning:
    compared = "Comparing the color of each circle to its size, it"
    return Reasoning(
        wrong=f"{compared} does not fit the observed color-size pattern.",
        right=f"{compared} matches well the color-size pattern.",
        thing="color",
        pattern=(
            f"The pattern that the circles become {scene.trend} as they become smaller holds "
            "consistently"
        ),
    )


# Spiral: circles get bigger away from the middle.

PLACES = {
    "small": "closest to center",
    "medium": "neither closest nor farthest from center",
    "large": "farthest from center",
}


def _sample_spiral(rng: random.Random) -> SpiralScene:
    turn = rng.randint(0, 360)
    missing = rng.randrange(9)
    answer = list(SIZES)[missing // 3]
    return SpiralScene(missing, turn, words.options(rng, answer, SIZES, 3))


def _word_spiral(scene: SpiralScene) -> Wording:
    shown = [name for name in SIZES for _ in range(3)]
    answer, shown[scene.missing] = shown[scene.missing], MISSING
    pattern = "the circles in each arm get bigger as they progress away from the center of the"
    return Wording(
        question="What is the size of the missing circle denoted with a question mark?",
        options=scene.options,
        answer=answer,
        caption=SPIRAL_CAPTION.format(first=shown[0::3], second=shown[1::3], third=shown[2::3]),
        explanation=(
            "We observe that the circles in each arm progress in size from small to medium to "
            f"large. Thus, the pattern is that {pattern} spiral."
        ),
        deduction=(
            f"Based on the pattern that {pattern} spiral, the size of the missing part that is "
            f"{PLACES[answer]} should be {answer}."
        ),
    )


def _draw_spiral(scene: SpiralScene, size: int) -> np.ndarray:
    canvas = Canvas(size)
    for index in range(9):
        radius, distance, angle = list(SIZES.values())[index // 3]
        turn = math.radians(120 * (index % 3) + angle + scene.turn)
        center = (MIDDLE + distance * math.cos(turn), MIDDLE + distance * math.sin(turn))
        if index == scene.missing:
            canvas.text(center, MISSING, 51)
        else:
            canvas.circle(center, radius, CREAM, 3.25)
    return canvas.array()


def _parse_spiral(record: Mapping[str, Any]) -> SpiralScene:
    arms = words.read(SPIRAL_CAPTION, record["caption"])
    arm, sizes = next((i, sizes) for i, sizes in enumerate(arms.values()) if MISSING in sizes)
    return SpiralScene(
        missing=3 * sizes.index(MISSING) + arm, turn=0, options=words.record_options(record)
    )


CIRCLE_SIZE_NUMBER = Kind(
    name="circle_size_number",
    sample=_sample_numbers,
    word=_word_numbers,
    draw=_draw_numbers,
    parse=_parse_numbers,
    fill=_fill,
    reasoning=_reasoning_numbers,
)
COLOR_SIZE_CIRCLE = Kind(
    name="color_size_circle",
    sample=_sample_rings,
    word=_word_rings,
    draw=_draw_rings,
    parse=_parse_rings,
    fill=_fill,
    reasoning=_reasoning_rings,
)
SIZE_CYCLE = Kind(
    name="size_cycle",
    sample=_sample_spiral,
    word=_word_spiral,
    draw=_draw_spiral,
    parse=_parse_spiral,
    fill=None,
)
