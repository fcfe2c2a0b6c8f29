import random

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.rectangle_height_color import KIND

SCENE = Scene(
    values=("red", "blue", "blue", "green", "red", "green", "blue"),
    missing=6,
    options=("orange", "blue", "red", "purple"),
    attributes=("long", "short", "short", "medium", "long", "medium", "short"),
    extra=("green", "red"),
)


def test_a_colored_row_is_worded_as_released():
    assert KIND.word(SCENE)._asdict() == {
        "question": "What is the missing color of the part denoted with a question mark?",
        "options": ("orange", "blue", "red", "purple"),
        "answer": "blue",
        "caption": "There are 7 rectangles in the image with varying colors and lengths. The "
        "lengths from left to right are ['long', 'short', 'short', 'medium', 'long', 'medium', "
        "'short']. The colors from left to right are ['red', 'blue', 'blue', 'green', 'red', "
        "'green', '?'].",
        "explanation": "We observe that the green rectangles are of medium length and the red "
        "rectangles are of long length. Hence, the pattern is that the color of each rectangle "
        "corresponds to its length.",
        "deduction": "Based on the pattern that the color of each rectangle corresponds to its "
        "length, the missing color of the part denoted with a question mark should be blue.",
    }


def test_the_last_rectangle_is_grey_until_filled():
    empty = KIND.draw(SCENE, 512)
    filled = KIND.draw(SCENE.fill("purple"), 512)
    # The last stands round x = 448; short ones reach 64 pixels up and down from the middle.
    assert tuple(empty[210, 448]) == (0xEE, 0xEE, 0xEE)
    assert tuple(filled[210, 448]) == (0x8E, 0x7C, 0xC3)
    assert tuple(filled[256, 448]) == (0x8E, 0x7C, 0xC3)
    assert (empty[:, :400] == filled[:, :400]).all()


def test_the_study_calls_the_missing_color_a_number():
    ours = KIND.reasoning(SCENE)
    assert ours.thing == "color"
    assert KIND.reasoning(SCENE, "original") == ours._replace(thing="number")


def test_as_long_rectangles_have_one_color():
    rng = random.Random(0)
    for _ in range(50):
        scene = KIND.sample(rng)
        whole = scene.fill(scene.answer).labels
        assert len(set(zip(whole, scene.attributes, strict=True))) == 3
