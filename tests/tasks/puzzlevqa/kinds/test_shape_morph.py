import numpy as np

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.shape_morph import KIND

SCENE = Scene(
    values=("square", "triangle"),
    missing=1,
    options=("triangle", "hexagon", "square", "pentagon"),
)


def test_a_morph_is_worded_as_released():
    assert KIND.word(SCENE)._asdict() == {
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
    word = KIND.word(SCENE._replace(missing=0, options=("circle", "square", "hexagon")))
    assert word.answer == "square"
    assert word.explanation.startswith(
        "We observe that from the bottom right to top left direction, the shapes look like a "
        "triangle but gradually change shape into something like a square."
    )
    assert word.deduction.endswith("the missing shape at the top left should be a square.")


def test_an_option_changes_its_corner_only():
    target, filled = (KIND.draw(scene, 512) for scene in (SCENE, SCENE.fill("hexagon")))
    changed = np.argwhere((target != filled).any(axis=-1))
    assert (np.abs(changed - 384) < 60).all()
    assert len(changed) > 0
