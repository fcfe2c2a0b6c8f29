import random

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.rectangle_height_number import KIND

SCENE = Scene(
    values=(3, 1, 1, 2, 3, 2, 1),
    missing=6,
    options=("4", "1", "3", "2"),
    attributes=("long", "short", "short", "medium", "long", "medium", "short"),
)


def test_a_numbered_row_is_worded_as_released():
    words = KIND.word(SCENE)
    assert words.caption == (
        "There are 7 rectangles in the image with varying lengths and numbers inside them. The "
        "numbers from left to right are [3, 1, 1, 2, 3, 2, '?']. The lengths from left to right "
        "are ['long', 'short', 'short', 'medium', 'long', 'medium', 'short']."
    )
    assert words.deduction == (
        "Based on the pattern that the number in each rectangle corresponds to its length, the "
        "missing number of the rectangle with a question mark should be 1."
    )


def test_lengths_depend_on_the_numbers():
    rng = random.Random(0)
    for _ in range(50):
        scene = KIND.sample(rng)
        lengths = [("short", "medium", "long").index(name) + 1 for name in scene.attributes]
        assert lengths == scene.fill(scene.answer).labels
