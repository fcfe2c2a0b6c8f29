import numpy as np

from mmcot_jax.tasks.puzzlevqa.changes import (
    SHAPE_MORPH,
    SHAPE_REFLECT,
    MorphScene,
    ReflectScene,
)

MORPH = MorphScene(
    first="square",
    last="triangle",
    missing=1,
    options=("triangle", "hexagon", "square", "pentagon"),
)
REFLECT = ReflectScene(
    shapes=("triangle", "pentagon", "hexagon"),
    missing=2,
    options=("pentagon", "square", "hexagon", "triangle"),
)


def test_a_morph_is_worded_as_released():
    assert SHAPE_MORPH.word(MORPH)._asdict() == {
        "question": "What is the missing shape of the part denoted with a question mark?",
        "options": ("triangle", "hexagon", "square", "pentagon"),
        "answer": "triangle",
        "caption": "There are eight shapes arranged in a grid. The top left shape is a square and "
        "the bottom right shape is a ?. The other shapes do not appear to regular shapes.",
        "explanation": "We observe that from the top left to bottom right direction, the shapes "
        "look like a square but gradually change shape into something like a triangle. Hence, the "
        "pattern is the the shapes are morphing between square and triangle shapes.",
        "deduction": "Based on the pattern that the shapes are morphing between square and "
        "triangle shapes, the missing shape at the bottom right should be a triangle.",
    }


def test_a_morph_read_backwards_starts_at_what_is_known():
    word = SHAPE_MORPH.word(MORPH._replace(missing=0, options=("circle", "square", "hexagon")))
    assert word.answer == "square"
    assert word.explanation.startswith(
        "We observe that from the bottom right to top left direction, the shapes look like a "
        "triangle but gradually change shape into something like a square."
    )
    assert word.deduction.endswith("the missing shape at the top left should be a square.")


def test_reflected_shapes_are_worded_as_released():
    assert SHAPE_REFLECT.word(REFLECT)._asdict() == {
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


def test_an_option_changes_its_corner_only():
    asked, filled = (
        SHAPE_MORPH.draw(scene, 512) for scene in (MORPH, SHAPE_MORPH.fill(MORPH, "hexagon"))
    )
    changed = np.argwhere((asked != filled).any(axis=-1))
    assert (np.abs(changed - 384) < 60).all()
    assert len(changed) > 0


def test_the_bottom_mirrors_the_top():
    whole = SHAPE_REFLECT.draw(SHAPE_REFLECT.fill(REFLECT, "hexagon"), 512).astype(float)
    # Even rows of the picture: row r faces row 511 - r.
    assert np.abs(whole[100:240] - whole[::-1][100:240]).mean() < 3
