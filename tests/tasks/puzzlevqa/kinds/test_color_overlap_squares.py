import random

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.color_overlap_squares import KIND, MIXES

LAST = Scene(
    values=("yellow", "blue", "red"),
    missing=2,
    options=("green", "purple", "red", "yellow"),
)
FIRST = LAST._replace(missing=0)


def test_squares_are_worded_as_released():
    assert KIND.word(LAST)._asdict() == {
        "question": "What is the missing color of the part denoted with a question mark?",
        "options": ("green", "purple", "red", "yellow"),
        "answer": "red",
        "caption": "There are 3 squares which overlap each other in the image. The color of the "
        "squares are ['yellow', 'blue', '?']. The part where the first and second squares overlap "
        "is green. The part where the second and third squares overlap is purple.",
        "explanation": "We observe that the yellow and blue squares overlap to form green. Hence, "
        "the pattern is that the color of the part where two squares overlap is determined by "
        "mixing the two colors.",
        "deduction": "Based on the pattern that the color of the part where two squares overlap "
        "is determined by mixing the two colors, the missing color of the part which overlaps "
        "with blue to form purple should be red.",
    }


def test_the_known_pair_is_explained_when_the_first_is_missing():
    words = KIND.word(FIRST)
    assert "the blue and red squares overlap to form purple" in words.explanation
    assert words.deduction.endswith("overlaps with blue to form green should be yellow.")


def test_the_first_square_lies_lower_left():
    picture = KIND.draw(FIRST.fill("yellow"), 512)
    assert tuple(picture[384, 128]) == (0xFF, 0xD9, 0x66)
    assert tuple(picture[128, 384]) == (0xE0, 0x66, 0x66)
    assert tuple(picture[256, 256]) == (0x6F, 0xA8, 0xDC)
    assert tuple(picture[320, 192]) == (0x93, 0xC4, 0x7D)
    assert tuple(picture[192, 320]) == (0x8E, 0x7C, 0xC3)


def test_every_pair_of_squares_has_a_mix():
    rng = random.Random(0)
    for _ in range(50):
        scene = KIND.sample(rng)
        first, second, third = scene.fill(scene.answer).labels
        mixes = MIXES[frozenset({first, second})], MIXES[frozenset({second, third})]
        assert f"overlap is {mixes[0]}. The part" in KIND.word(scene).caption
        assert KIND.word(scene).caption.endswith(f"overlap is {mixes[1]}.")
