"""Nine circles in a grid; the corners share a colour, and so do the centre's neighbours."""

import random

import numpy as np

from mmcot_jax.tasks.puzzlevqa import layouts, words
from mmcot_jax.tasks.puzzlevqa.canvas import COLORS
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates

TEMPLATES = Templates(
    question="What is the color of the missing part denoted with a question mark?",
    caption="There are circles with different colors arranged with a grid formation in the "
    "image. The colors in the first row are {first}, the colors in the second row are "
    "{second}, and the colors in the third row are {third}.",
    explanation="We observe that the circles at the corners are {corner}, while the circles "
    "directly adjacent to the center are {side}. Only the center circle is {center}. Hence, "
    "the pattern is that {rule}.",
    deduction="Based on the pattern that {rule}, the missing color of the part that is "
    "{place} should be {answer}.",
    rule="the circles alternate in color depending on if they are at the corner or adjacent "
    "to the center",
    thing="circle",
    compared="the colors of the circles at the corners and adjacent to the center",
)


def sample(rng: random.Random) -> Scene:
    """Samples three colours."""
    return layouts.sample_circle_grid(rng, words.three_colors(rng), list(COLORS), 4)


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws circles of one size."""
    return layouts.draw_circle_grid(scene, size, {name: (51, COLORS[name]) for name in COLORS})


KIND = Kind("color_grid", TEMPLATES, sample, layouts.circle_grid_fields, draw)
