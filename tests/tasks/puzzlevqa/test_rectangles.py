import random

from mmcot_jax.tasks.puzzlevqa.rectangles import (
    RECTANGLE_HEIGHT_COLOR,
    RECTANGLE_HEIGHT_NUMBER,
    ColorScene,
    NumberScene,
)

COLORED = ColorScene(
    lengths=("long", "short", "short", "medium", "long", "medium", "short"),
    colors=("red", "blue", "blue", "green", "red", "green", "?"),
    mentioned=("green", "red"),
    answer="blue",
    options=("orange", "blue", "red", "purple"),
)
NUMBERED = NumberScene(
    lengths=("long", "short", "short", "medium", "long", "medium", "short"),
    numbers=(3, 1, 1, 2, 3, 2, "?"),
    answer="1",
    options=("4", "1", "3", "2"),
)


def test_a_colored_row_is_worded_as_released():
    assert RECTANGLE_HEIGHT_COLOR.word(COLORED)._asdict() == {
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
    empty = RECTANGLE_HEIGHT_COLOR.draw(COLORED, 512)
    filled = RECTANGLE_HEIGHT_COLOR.draw(RECTANGLE_HEIGHT_COLOR.fill(COLORED, "purple"), 512)
    # The last stands round x = 448; short ones reach 64 pixels up and down from the middle.
    assert tuple(empty[210, 448]) == (0xEE, 0xEE, 0xEE)
    assert tuple(filled[210, 448]) == (0x8E, 0x7C, 0xC3)
    assert tuple(filled[256, 448]) == (0x8E, 0x7C, 0xC3)
    assert (empty[:, :400] == filled[:, :400]).all()


def test_the_study_calls_the_missing_color_a_number():
    ours = RECTANGLE_HEIGHT_COLOR.reasoning(COLORED)
    assert ours.thing == "color"
    assert RECTANGLE_HEIGHT_COLOR.original(COLORED) == ours._replace(thing="number")


def test_a_numbered_row_is_worded_as_released():
    words = RECTANGLE_HEIGHT_NUMBER.word(NUMBERED)
    assert words.caption == (
        "There are 7 rectangles in the image with varying lengths and numbers inside them. The "
        "numbers from left to right are [3, 1, 1, 2, 3, 2, '?']. The lengths from left to right "
        "are ['long', 'short', 'short', 'medium', 'long', 'medium', 'short']."
    )
    assert words.deduction == (
        "Based on the pattern that the number in each rectangle corresponds to its length, the "
        "missing number of the rectangle with a question mark should be 1."
    )


def test_lengths_follow_colors_and_numbers_in_what_is_drawn_by_chance():
    rng = random.Random(0)
    for _ in range(50):
        colored = RECTANGLE_HEIGHT_COLOR.sample(rng)
        whole = (*colored.colors[:-1], colored.answer)
        assert len(set(zip(whole, colored.lengths, strict=True))) == 3
        numbered = RECTANGLE_HEIGHT_NUMBER.sample(rng)
        numbers = (*numbered.numbers[:-1], int(numbered.answer))
        heights = [("short", "medium", "long").index(name) + 1 for name in numbered.lengths]
        assert heights == list(numbers)
