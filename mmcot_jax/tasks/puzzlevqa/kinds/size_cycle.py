"""Nine circles in a spiral of three arms; they get bigger away from the centre."""

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates, parse_scene
from mmcot_jax.tasks.puzzlevqa.layouts import CENTER
from mmcot_jax.tasks.puzzlevqa.words import MISSING

SIZES = {"small": (25.5, 56.75, 0), "medium": (38.5, 128, 20), "large": (51.25, 204.75, 45)}
"""Radius, distance from the centre, degrees the arm has turned."""

PLACES = {
    "small": "closest to center",
    "medium": "neither closest nor farthest from center",
    "large": "farthest from center",
}
FILL = "#fff2cc"

# No `compared`: the caption leaves the turn open, so options cannot be drawn from it.
TEMPLATES = Templates(
    question="What is the size of the missing circle denoted with a question mark?",
    caption="There are circles arranged in a spiral with three arms. The first arm has "
    "circles of sizes {first}, the second arm has circles of sizes {second}, and the third "
    "arm has circles of sizes {third}.",
    explanation="We observe that the circles in each arm progress in size from small to "
    "medium to large. Thus, the pattern is that {rule}.",
    deduction="Based on the pattern that {rule}, the size of the missing part that is {place} "
    "should be {answer}.",
    rule="the circles in each arm get bigger as they progress away from the center of the spiral",
)


def sample(rng: random.Random) -> Scene:
    """Samples a part, 3 * size + arm; extra is a turn in degrees, absent from the caption."""
    turn = rng.randint(0, 360)
    missing = rng.randrange(9)
    values = tuple(name for name in SIZES for _ in range(3))
    return Scene(values, missing, words.options(rng, values[missing], SIZES, 3), extra=(turn,))


def fields(scene: Scene) -> dict[str, Any]:
    """Returns the arms, and the place of the missing part."""
    first, second, third = (scene.labels[arm::3] for arm in range(3))
    return {"first": first, "second": second, "third": third, "place": PLACES[scene.answer]}


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws the circles."""
    canvas = Canvas(size)
    for index, (value, label) in enumerate(zip(scene.values, scene.labels, strict=True)):
        radius, distance, angle = SIZES[value]
        turn = math.radians(120 * (index % 3) + angle + scene.extra[0])
        center = (
            CENTER[0] + distance * math.cos(turn),
            CENTER[1] + distance * math.sin(turn),
        )
        if label == MISSING:
            canvas.text(center, MISSING, 51)
        else:
            canvas.circle(center, radius, FILL, 3.25)
    return canvas.array()


def parse_fields(caption: Mapping[str, Any], record: Mapping[str, Any]) -> Scene:
    """Reads labels from the centre outwards; the turn is unknown and becomes 0."""
    arms = zip(caption["first"], caption["second"], caption["third"], strict=True)
    return parse_scene([label for ring in arms for label in ring], record, extra=(0,))


KIND = Kind("size_cycle", TEMPLATES, sample, fields, draw, parse_fields)
