import random

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.color_size_circle import KIND

SCENE = Scene(
    values=("medium purple", "light purple", "dark purple", "very dark purple"),
    missing=1,
    options=("dark green", "light purple", "light blue", "dark purple"),
    attributes=("medium", "small", "large", "extra large"),
)


def test_rings_are_worded_as_released():
    assert KIND.word(SCENE)._asdict() == {
        "question": "What is the missing color of the part denoted with a question mark?",
        "options": ("dark green", "light purple", "light blue", "dark purple"),
        "answer": "light purple",
        "caption": "There are circles of various sizes and colors in the image. The circles are "
        "['medium', 'small', 'large', 'extra large'] size, and their colors are "
        "['medium purple', '?', 'dark purple', 'very dark purple'].",
        "explanation": "We observe that the largest circle is very dark purple color, and the "
        "smaller circles change color from dark purple to medium purple. Hence, the pattern is "
        "that the circles become lighter as they become smaller.",
        "deduction": "Based on the pattern that the circles become lighter as they become smaller, "
        "the missing color of the smallest circle denoted with a question mark should be light "
        "purple.",
    }


def test_shades_of_an_option_lie_on_the_puzzles_own_scale():
    middle = {
        option: tuple(KIND.draw(SCENE.fill(option), 512)[256, 256]) for option in SCENE.options
    }
    assert middle == {
        "dark green": (0x92, 0xC4, 0x7D),
        "light purple": (0xD9, 0xD2, 0xE9),
        "light blue": (0xCF, 0xE2, 0xF3),
        "dark purple": (0x8D, 0x7C, 0xC3),
    }


def test_rings_offer_both_ends_of_the_color():
    rng = random.Random(0)
    for _ in range(50):
        scene = KIND.sample(rng)
        _, color = scene.answer.split()
        assert {f"light {color}", f"dark {color}"} < set(scene.options)
