import numpy as np

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.shape_reflect import KIND

SCENE = Scene(
    values=("triangle", "pentagon", "hexagon") * 2,
    missing=2,
    options=("pentagon", "square", "hexagon", "triangle"),
)


def test_reflected_shapes_are_worded_as_released():
    assert KIND.word(SCENE)._asdict() == {
        "question": "What is the missing shape denoted by a question mark?",
        "options": ("pentagon", "square", "hexagon", "triangle"),
        "answer": "hexagon",
        "caption": "There are six shapes in the image separated by a line. In the top part there "
        "are ['triangle', 'pentagon', '?']. In the bottom part there are ['triangle', 'pentagon', "
        "'hexagon'].",
        "explanation": "We observe that the hexagon is reflected across the line as a hexagon. "
        "Similarly, the pentagon is reflected as a pentagon. Hence, the pattern is that each shape "
        "in the top part is reflected in the bottom part.",
        "deduction": "Based on the pattern that each shape in the top part is reflected in the "
        "bottom part, the missing shape which is reflected from a hexagon part should be a "
        "hexagon.",
    }


def test_the_bottom_mirrors_the_top():
    whole = KIND.draw(SCENE.fill("hexagon"), 512).astype(float)
    # Even rows of the picture: row r faces row 511 - r.
    assert np.abs(whole[100:240] - whole[::-1][100:240]).mean() < 3
