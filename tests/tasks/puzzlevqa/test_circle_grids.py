import random

from mmcot_jax.tasks.puzzlevqa.circle_grids import COLOR_GRID, SIZE_GRID, GridScene

COLORED = GridScene(
    labels=("red", "blue", "red", "blue", "green", "blue", "red", "?", "red"),
    values=("red", "blue", "green"),
    missing=7,
    options=("orange", "blue", "red", "purple"),
)
SIZED = GridScene(
    labels=("?", "large", "small", "large", "medium", "large", "small", "large", "small"),
    values=("small", "large", "medium"),
    missing=0,
    options=("large", "small", "medium"),
)


def test_colored_circles_are_worded_as_released():
    assert COLOR_GRID.word(COLORED)._asdict() == {
        "question": "What is the color of the missing part denoted with a question mark?",
        "options": ("orange", "blue", "red", "purple"),
        "answer": "blue",
        "caption": "There are circles with different colors arranged with a grid formation in the "
        "image. The colors in the first row are ['red', 'blue', 'red'], the colors in the second "
        "row are ['blue', 'green', 'blue'], and the colors in the third row are ['red', '?', "
        "'red'].",
        "explanation": "We observe that the circles at the corners are red, while the circles "
        "directly adjacent to the center are blue. Only the center circle is green. Hence, the "
        "pattern is that the circles alternate in color depending on if they are at the corner or "
        "adjacent to the center.",
        "deduction": "Based on the pattern that the circles alternate in color depending on if "
        "they are at the corner or adjacent to the center, the missing color of the part that is "
        "adjacent to the center should be blue.",
    }


def test_the_caption_starts_at_the_lower_right_and_goes_up():
    # Index 7 of the caption is the middle of the left column.
    empty = COLOR_GRID.draw(COLORED, 512)
    filled = COLOR_GRID.draw(COLOR_GRID.fill(COLORED, "purple"), 512)
    assert tuple(empty[230, 110]) == (255, 255, 255)
    assert tuple(filled[230, 110]) == (0x8E, 0x7C, 0xC3)


def test_sized_circles_say_where_the_missing_one_is():
    words = SIZE_GRID.word(SIZED)
    assert words.answer == "small"
    assert words.explanation == (
        "We observe that the circles at the corners are small size, while the circles directly "
        "adjacent to the center are large size. Only the center circle is medium size. Hence, the "
        "pattern is that the circles alternate in size depending on if they are at the corner or "
        "adjacent to the center."
    )
    assert words.deduction.endswith(
        "the size of the missing part that is at the corner should be small."
    )


def test_the_center_is_never_asked_for():
    rng = random.Random(0)
    asked = {SIZE_GRID.sample(rng).missing for _ in range(200)}
    assert asked == {0, 1, 2, 3, 5, 6, 7, 8}
