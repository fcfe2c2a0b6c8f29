"""A hexagon of six triangles, anti-clockwise from the top; opposite ones have one colour."""

import random
from typing import Any

import numpy as np

from mmcot_jax.tasks.puzzlevqa import layouts, words
from mmcot_jax.tasks.puzzlevqa.canvas import BLANK, COLORS, Canvas
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates
from mmcot_jax.tasks.puzzlevqa.words import MISSING

TEMPLATES = Templates(
    caption="There is a hexagon split into six parts with the colors {colors} in an "
    "anti-clockwise order.",
    explanation="We observe that a {first} part is opposite another {first} part, and a "
    "{second} part is opposite another {second} part. Thus, the pattern is that the colors in "
    "opposite parts are the same.",
    deduction="Based on the pattern that {rule}, the missing color of the part which is "
    "opposite a {answer} part should be {answer}.",
    rule="spatially opposite parts have the same color",
    thing="color",
    compared="the colors of the opposite parts",
)


def sample(rng: random.Random) -> Scene:
    """Samples three colours and repeats them in order."""
    colors = words.three_colors(rng) * 2
    missing = rng.randrange(6)
    return Scene(tuple(colors), missing, words.options(rng, colors[missing], COLORS))


def fields(scene: Scene) -> dict[str, Any]:
    """Returns the colours, and the two other than the missing one."""
    first, second = sorted(set(scene.values) - {scene.answer})
    return {"colors": scene.labels, "first": first, "second": second}


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws the triangles; the missing one is grey."""
    canvas = Canvas(size)
    for part, color in zip(layouts.hexagon_parts(), scene.labels, strict=True):
        centroid = layouts.draw_part(canvas, part, COLORS.get(color, BLANK))
        if color == MISSING:
            canvas.text(centroid, MISSING, 51)
    return canvas.array()


KIND = Kind("color_hexagon", TEMPLATES, sample, fields, draw)
