import json
import random

import numpy as np
import pytest
from PIL import Image

from mmcot_jax.tasks.puzzlevqa.circles import (
    CIRCLE_SIZE_NUMBER,
    COLOR_SIZE_CIRCLE,
    SIZE_CYCLE,
    NumbersScene,
    RingsScene,
    SpiralScene,
)

NUMBERS = NumbersScene(numbers=(4, 1, 6, 4, 6, 1), missing=3, options=("6", "3", "4", "2"))
RINGS = RingsScene(
    color="purple",
    trend="lighter",
    order=("medium", "small", "large", "extra large"),
    options=("dark green", "light purple", "light blue", "dark purple"),
)
SPIRAL = SpiralScene(missing=6, turn=0, options=("large", "small", "medium"))


def test_numbered_circles_are_worded_as_released():
    assert CIRCLE_SIZE_NUMBER.word(NUMBERS)._asdict() == {
        "question": "What is the missing number of the part denoted with a question mark?",
        "options": ("6", "3", "4", "2"),
        "answer": "4",
        "caption": "There are 6 numbered circles with varying sizes arranged in a ring with "
        "number [4, 1, 6, '?', 6, 1] in a clockwise order.",
        "explanation": "We observe that the size of the circle is related to the number in the "
        "circle. The circle with the largest value 6 seems to be the biggest and the circle with "
        "the smallest value 1 seems to be the smallest. Thus, the pattern is that the larger the "
        "number the larger the circle.",
        "deduction": "Based on the pattern that the larger the number the larger the circle, the "
        "missing number of the circle denoted with a question mark should be 4.",
    }


def test_rings_are_worded_as_released():
    assert COLOR_SIZE_CIRCLE.word(RINGS)._asdict() == {
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


def test_a_spiral_is_worded_as_released():
    assert SIZE_CYCLE.word(SPIRAL)._asdict() == {
        "question": "What is the size of the missing circle denoted with a question mark?",
        "options": ("large", "small", "medium"),
        "answer": "large",
        "caption": "There are circles arranged in a spiral with three arms. The first arm has "
        "circles of sizes ['small', 'medium', '?'], the second arm has circles of sizes ['small', "
        "'medium', 'large'], and the third arm has circles of sizes ['small', 'medium', 'large'].",
        "explanation": "We observe that the circles in each arm progress in size from small to "
        "medium to large. Thus, the pattern is that the circles in each arm get bigger as they "
        "progress away from the center of the spiral.",
        "deduction": "Based on the pattern that the circles in each arm get bigger as they "
        "progress away from the center of the spiral, the size of the missing part that is "
        "farthest from center should be large.",
    }


def test_an_option_keeps_the_size_of_its_circle():
    scene = NUMBERS._replace(numbers=(4, 1, 6, 6, 6, 1), options=("6", "1", "4", "2"))
    asked, filled = (CIRCLE_SIZE_NUMBER.draw(s, 512) for s in (scene, scene._replace(shown="1")))
    changed = np.argwhere((asked != filled).any(axis=-1))
    # The missing circle lies at (106, 256); only what is written in it differs.
    assert (np.abs(changed - [256, 106]) < 30).all()
    assert len(changed) > 0


def test_shades_of_an_option_lie_on_the_puzzles_own_scale():
    middle = {
        option: tuple(COLOR_SIZE_CIRCLE.draw(RINGS._replace(shown=option), 512)[256, 256])
        for option in RINGS.options
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
        scene = COLOR_SIZE_CIRCLE.sample(rng)
        assert {f"light {scene.color}", f"dark {scene.color}"} < set(scene.options)


def test_the_spiral_turns_by_what_the_caption_does_not_tell():
    turned = SPIRAL._replace(turn=90)
    assert SIZE_CYCLE.word(turned) == SIZE_CYCLE.word(SPIRAL)
    assert (SIZE_CYCLE.draw(turned, 64) != SIZE_CYCLE.draw(SPIRAL, 64)).any()


@pytest.mark.slow
@pytest.mark.reference
def test_released_spirals_are_ours_at_some_turn(reference):
    folder = reference / "data" / "puzzlevqa"
    for line in (folder / "size_cycle.json").read_text().splitlines()[:3]:
        record = json.loads(line)
        scene = SIZE_CYCLE.parse(record)
        image = Image.open(folder / record["image"]).convert("RGB")
        small = np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS), np.float32)
        turn = min(
            range(361),
            key=lambda t: np.abs(SIZE_CYCLE.draw(scene._replace(turn=t), 64) - small).mean(),
        )
        drawn = SIZE_CYCLE.draw(scene._replace(turn=turn), 512)
        assert np.abs(drawn - np.asarray(image, np.float32)).mean() < 0.5
