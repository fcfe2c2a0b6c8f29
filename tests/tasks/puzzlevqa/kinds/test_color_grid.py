from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.color_grid import KIND

SCENE = Scene(
    values=("red", "blue", "red", "blue", "green", "blue", "red", "blue", "red"),
    missing=7,
    options=("orange", "blue", "red", "purple"),
)


def test_colored_circles_are_worded_as_released():
    assert KIND.word(SCENE)._asdict() == {
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
    empty = KIND.draw(SCENE, 512)
    filled = KIND.draw(SCENE.fill("purple"), 512)
    assert tuple(empty[230, 110]) == (255, 255, 255)
    assert tuple(filled[230, 110]) == (0x8E, 0x7C, 0xC3)
