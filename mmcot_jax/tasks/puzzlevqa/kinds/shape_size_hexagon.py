"""Three shapes with a size each, twice around a missing one of them."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import words
from mmcot_jax.tasks.puzzlevqa.canvas import UNITS, Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates, parse_scene
from mmcot_jax.tasks.puzzlevqa.layouts import CENTER, SIDES, corners, upright
from mmcot_jax.tasks.puzzlevqa.words import MISSING

RADII = {"small": 0.05 * UNITS, "medium": 0.10 * UNITS, "large": 0.15 * UNITS}
FILL = "#fce5cd"

TEMPLATES = Templates(
    question="What is the size of the missing shape denoted with a question mark if it is a "
    "{asked}?",
    caption="There are 7 shapes with different sizes in the image, of which there is a "
    "missing {asked} in the center. The other shapes are arranged around the center, which "
    "are {shapes} in anti-clockwise order. Their corresponding sizes are {sizes}.",
    explanation="We observe that the {a}s are {x} size, the {b}s are {y} size, and the {c}s "
    "are {z} size. Hence, the pattern is that {rule}.",
    deduction="Based on the pattern that {rule}, the size of the missing {asked} should be "
    "{answer}.",
    rule="each shape appears with a distinct size",
    thing="size",
    compared="the size of each shape to the others of the same shape",
    relation="shape-size",
)


def sample(rng: random.Random) -> Scene:
    """Samples three shapes, which are the attributes, with a size each."""
    shapes = tuple(rng.sample(list(SIDES), 3))
    sizes = tuple(rng.sample(list(RADII), 3))
    missing = rng.randrange(3)
    options = words.options(rng, sizes[missing], sizes, 3)
    return Scene(sizes, missing, options, attributes=shapes)


def fields(scene: Scene) -> dict[str, Any]:
    """Returns the six shapes around the centre with their sizes, and the three pairs."""
    return {
        "asked": scene.attributes[scene.missing],
        "shapes": [*scene.attributes] * 2,
        "sizes": [*scene.values] * 2,
        **dict(zip("abc", scene.attributes, strict=True)),
        **dict(zip("xyz", scene.values, strict=True)),
    }


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws shapes around the centre, and the option in it."""
    canvas = Canvas(size)
    places = corners(CENTER, 170.5, 6)
    for shape, name, center in zip(scene.attributes * 2, scene.values * 2, places, strict=True):
        canvas.polygon(upright(center, RADII[name], SIDES[shape]), FILL, 5)
    if scene.shown == MISSING:
        canvas.text(CENTER, MISSING, 85.25)
    else:
        target = scene.attributes[scene.missing]
        canvas.polygon(upright(CENTER, RADII[scene.shown], SIDES[target]), FILL, 5)
    return canvas.array()


def parse_fields(caption: Mapping[str, Any], record: Mapping[str, Any]) -> Scene:
    """Reads sizes as labels and shapes as attributes; `?` is the size of the missing shape."""
    shapes = tuple(caption["shapes"][:3])
    sizes = caption["sizes"][:3]
    sizes[shapes.index(caption["asked"])] = MISSING
    return parse_scene(sizes, record, attributes=shapes)


KIND = Kind("shape_size_hexagon", TEMPLATES, sample, fields, draw, parse_fields)
