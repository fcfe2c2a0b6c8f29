import random
from collections import Counter

from mmcot_jax.tasks.puzzlevqa.number_grids import (
    GRID_NUMBER,
    GRID_NUMBER_COLOR,
    ColorScene,
    SumScene,
)

COLORED = ColorScene(
    numbers=(9, 7, 9, 3, 3, 7, 1, 1, 3),
    colors=("red", "blue", "red", "?", "green", "blue", "orange", "orange", "green"),
    missing=3,
    mentioned=(7, 9, 1, 3),
    answer="green",
    options=("red", "blue", "green", "orange"),
)
SUMMED = SumScene(
    numbers=(7, 3, 7, 9, 3, "?", 5, 5, 7), missing=5, answer="5", options=("7", "9", "1", "5")
)


def test_colored_numbers_are_worded_as_released():
    assert GRID_NUMBER_COLOR.word(COLORED)._asdict() == {
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
    ours, original = (words(COLORED) for words in GRID_NUMBER_COLOR[-2:])
    assert ours.thing == "color"
    assert ours.right.startswith("Comparing the color of each grid cell to the number in it, ")
    assert original.thing == "number"
    assert original.right == (
        "Comparing the sum of each row, it matches well the pattern, that is each row adds up to "
        "the same value."
    )
    assert original.pattern.endswith("each row addding up to the same value holds consistently")


def test_sums_name_the_two_whole_rows_first():
    words = GRID_NUMBER.word(SUMMED)
    assert words.explanation == (
        "We observe that [7, 3, 7] sums to 17, and [5, 5, 7] also sums to 17. Thus, the pattern "
        "is that the numbers in each row add up to the same value."
    )
    assert words.deduction == (
        "Based on the pattern that the numbers in each row add up to the same value, the missing "
        "number of the row [9, 3, '?'] should be 5."
    )


def test_a_filled_cell_takes_color_and_number():
    filled = GRID_NUMBER_COLOR.draw(GRID_NUMBER_COLOR.fill(COLORED, "red"), 512)
    empty = GRID_NUMBER_COLOR.draw(COLORED, 512)
    assert tuple(empty[200, 60]) == (0xEE, 0xEE, 0xEE)
    assert tuple(filled[200, 60]) == (0xE0, 0x66, 0x66)


def test_drawn_grids_keep_their_rules():
    rng = random.Random(0)
    for _ in range(50):
        colored = GRID_NUMBER_COLOR.sample(rng)
        assert sorted(Counter(colored.numbers).values()) == [2, 2, 2, 3]
        assert Counter(colored.numbers)[colored.numbers[colored.missing]] == 3
        summed = GRID_NUMBER.sample(rng)
        whole = [int(summed.answer) if n == "?" else n for n in summed.numbers]
        assert sum(whole[:3]) == sum(whole[3:6]) == sum(whole[6:])
        assert len(set(whole)) >= 4
