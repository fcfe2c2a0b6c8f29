"""Nine circles in a grid; the corners share a size, and so do the centre's neighbours."""

import random

import numpy as np

from mmcot_jax.tasks.puzzlevqa import layouts
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Templates

RADII = {"small": 17.0, "medium": 25.5, "large": 51.0}
FILL = "#fff2cc"

TEMPLATES = Templates(
    question="What is the size of the missing part denoted with a question mark?",
    caption="There are circles arranged in a grid formation with varying sizes in the image. "
    "The sizes in the first row are {first}, the sizes in the second row are {second}, and "
    "the sizes in the third row are {third}.",
    explanation="We observe that the circles at the corners are {corner} size, while the "
    "circles directly adjacent to the center are {side} size. Only the center circle is "
    "{center} size. Hence, the pattern is that {rule}.",
    deduction="Based on the pattern that {rule}, the size of the missing part that is {place} "
    "should be {answer}.",
    rule="the circles alternate in size depending on if they are at the corner or adjacent to "
    "the center",
    thing="circle",
    compared="the sizes of the circles at the corners and adjacent to the center",
)


def sample(rng: random.Random) -> Scene:
    """Samples an order of the three sizes."""
    return layouts.sample_circle_grid(rng, rng.sample(list(RADII), 3), list(RADII), 3)


def draw(scene: Scene, size: int) -> np.ndarray:
    """Draws circles of one colour."""
    return layouts.draw_circle_grid(scene, size, {name: (RADII[name], FILL) for name in RADII})


KIND = Kind("size_grid", TEMPLATES, sample, layouts.circle_grid_fields, draw)
