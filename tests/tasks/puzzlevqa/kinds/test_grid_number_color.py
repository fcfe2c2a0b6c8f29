import random
from collections import Counter

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.grid_number_color import KIND

SCENE = Scene(
    values=("red", "blue", "red", "green", "green", "blue", "orange", "orange", "green"),
    missing=3,
    options=("red", "blue", "green", "orange"),
    attributes=(9, 7, 9, 3, 3, 7, 1, 1, 3),
    extra=(7, 9, 1, 3),
)


def test_colored_numbers_are_worded_as_released():
    assert KIND.word(SCENE)._asdict() == {
        "question": "What is the missing color if the part denoted with the question mark has the "
        "number 3?",
        "options": ("red", "blue", "green", "orange"),
        "answer": "green",
        "caption": "There is a 3x3 colored grid of numbers. The first row has number-color pair "
        "[(9, 'red'), (7, 'blue'), (9, 'red')], the second row is [(3, '?'), (3, 'green'), (7, "
        "'blue')], and the third and final row is [(1, 'orange'), (1, 'orange'), (3, 'green')].",
        "explanation": "We observe that the grid cells with number 7 is blue in color, the grid "
        "cells with number 9 is red in color, the grid cells with number 1 is orange in color, "
        "and the grid cells with number 3 is green in color. Thus, the pattern is that the grid "
        "cell with the same number will have the same color.",
        "deduction": "Based on the pattern that the grid cell with the same number will have the "
        "same color, the missing color of the part with 3 should be green.",
    }


def test_the_study_reasons_on_colors_with_the_sums_of_rows():
    ours, original = (KIND.reasoning(SCENE, w) for w in ("corrected", "original"))
    assert ours.thing == "color"
    assert ours.right.startswith("Comparing the color of each grid cell to the number in it, ")
    assert original.thing == "number"
    assert original.right == (
        "Comparing the sum of each row, it matches well the pattern, that is each row adds up to "
        "the same value."
    )
    assert original.pattern.endswith("each row addding up to the same value holds consistently")


def test_a_filled_cell_takes_color_and_number():
    filled = KIND.draw(SCENE.fill("red"), 512)
    empty = KIND.draw(SCENE, 512)
    assert tuple(empty[200, 60]) == (0xEE, 0xEE, 0xEE)
    assert tuple(filled[200, 60]) == (0xE0, 0x66, 0x66)


def test_the_number_asked_for_is_there_three_times_the_others_twice():
    rng = random.Random(0)
    for _ in range(50):
        scene = KIND.sample(rng)
        counts = Counter(scene.attributes)
        assert sorted(counts.values()) == [2, 2, 2, 3]
        assert counts[scene.attributes[scene.missing]] == 3
