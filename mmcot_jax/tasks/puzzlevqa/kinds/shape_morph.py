"""Eight steps in a grid, from one shape at the top left to another at the bottom right."""

import random
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates, parse_scene
from mmcot_jax.tasks.puzzlevqa.layouts import SIDES, cell
from mmcot_jax.tasks.puzzlevqa.words import MISSING

CORNERS = SIDES | {"circle": 720}
RADIUS = 51
FILL = "#f4cccb"

# Quarters of the way from the first shape to the last, row by row; the middle cell is empty.
STEPS = (0, 1, 2, 1, None, 3, 2, 3, 4)

TEMPLATES = Templates(
    caption="There are eight shapes arranged in a grid. The top left shape is a {first} and "
    "the bottom right shape is a {last}. The other shapes do not appear to regular shapes.",
    explanation="We observe that from the {direction} direction, the shapes look like a "
    "{known} but gradually change shape into something like a {answer}. Hence, the pattern is "
    "the {rule}.",
    deduction="Based on the pattern that {rule}, the missing shape at the {place} should be a "
    "{answer}.",
    rule="the shapes are morphing between {known} and {answer} shapes",
    thing="shape",
    compared="the shape in the corner to the shapes that lead up to it",
    relation="morphing",
)


@cache
def outline(name: str) -> np.ndarray:
    """360 points of a shape around 0, evenly spaced along its edges: float [360 2]."""
    sides = CORNERS[name]
    position = np.arange(360) * sides / 360
    before = np.floor(position + 1e-9)
    share = (position - before)[:, None]
    rotations = 2 * np.pi / sides * np.stack([before, before + 1])
    near, far = np.stack([np.cos(rotations), np.sin(rotations)], axis=-1) * RADIUS
    return (1 - share) * near + share * far


def sample(rng: random.Random) -> Scene:
    """Samples the first and the last shape; one of them is missing."""
    ends = tuple(rng.sample(list(CORNERS), 2))
    missing = rng.randrange(2)
    return Scene(ends, missing, words.options(rng, ends[missing], CORNERS))


def fields(scene: Scene) -> dict[str, Any]:
    """Returns both shapes; the explanation goes from the known one to the missing one."""
    first, last = scene.labels
    direction, position = (
        ("bottom right to top left", "top left")
        if scene.missing == 0
        else ("top left to bottom right", "bottom right")
    )
    known = scene.values[1 - scene.missing]
    return {"first": first, "last": last, "known": known, "direction": direction, "place": position}


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws blends of the two outlines."""
    canvas = Canvas(size)
    first, last = (outline(name) for name in scene.values)
    for index, quarters in enumerate(STEPS):
        if quarters is None:
            continue
        share, center = quarters / 4, cell(index)
        points = (1 - share) * first + share * last
        if quarters == 4 * scene.missing:
            if scene.shown == MISSING:
                canvas.text(center, MISSING, 64)
                continue
            points = outline(scene.shown)
        canvas.polygon([(x, y) for x, y in (points + center).tolist()], FILL, 3.25)
    return canvas.array()


def parse_fields(caption: Mapping[str, Any], record: Mapping[str, Any]) -> Scene:
    """Reads the first and the last shape as labels."""
    return parse_scene([caption["first"], caption["last"]], record)


KIND = Kind("shape_morph", TEMPLATES, sample, fields, draw, parse_fields)
