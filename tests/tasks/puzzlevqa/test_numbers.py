import random

from mmcot_jax.tasks.puzzlevqa.numbers import (
    COLOR_NUMBER_HEXAGON,
    TRIANGLE,
    VENN,
    HexagonScene,
    TriangleScene,
    VennScene,
)

HEXAGON = HexagonScene(
    colors=("purple", "orange", "red", "red", "purple", "orange"),
    numbers=(3, 1, 9, 1, 7, 9),
    missing=2,
    options=("4", "9", "2", "1"),
)
GROUPS = TriangleScene(
    numbers=(4, 5, 20, 3, 1, 3, 9, 7, 63), missing=2, options=("62", "46", "39", "20")
)
OVERLAP = VennScene(numbers=(7, 9, 1), missing=2, options=("4", "8", "1", "9"))


def test_a_hexagon_of_sums_is_worded_as_released():
    assert COLOR_NUMBER_HEXAGON.word(HEXAGON)._asdict() == {
        "question": "What is the missing number of the part denoted with a question mark?",
        "options": ("4", "9", "2", "1"),
        "answer": "9",
        "caption": "There is a hexagon split into six parts with the colors ['purple', 'orange', "
        "'red', 'red', 'purple', 'orange'] in an anti-clockwise order. The parts are denoted with "
        "the numbers [3, 1, '?', 1, 7, 9] respectively.",
        "explanation": "We observe that the numbers in the orange parts add up to 10. Similarly, "
        "the numbers in the purple parts also add up to 10. Thus, the pattern is that the numbers "
        "in the parts of the same color add up to 10.",
        "deduction": "Based on the pattern that the numbers in the parts of the same color add up "
        "to 10, the missing number of the red part should be 9.",
    }


def test_groups_of_products_are_worded_as_released():
    assert TRIANGLE.word(GROUPS)._asdict() == {
        "question": "What is the missing number of the part denoted with a question mark?",
        "options": ("62", "46", "39", "20"),
        "answer": "20",
        "caption": "There are three groups of numbers with a triangle arrangement in the image. "
        "The first group is [4, 5, '?'], the second group is [3, 1, 3], and the third group is "
        "[9, 7, 63].",
        "explanation": "We observe that the number 3 is the product of 1 and 3. Similarly, the "
        "number 63 is the product of 7 and 9. Hence, the pattern is that the rightmost number in "
        "each group is the product of the other two numbers.",
        "deduction": "Based on the pattern that the rightmost number in each group is the product "
        "of the other two numbers, the missing number of the group [4, 5, '?'] should be 20.",
    }


def test_overlapping_circles_are_worded_as_released():
    assert VENN.word(OVERLAP)._asdict() == {
        "question": "What is the missing number of the part denoted with a question mark?",
        "options": ("4", "8", "1", "9"),
        "answer": "1",
        "caption": "There are 3 overlapping circles containing the numbers [7, 9, '?']. The "
        "overlapping part between the first and second circle contains the number 16. The "
        "overlapping part between the second and third circle contains the number 10.",
        "explanation": "We observe that the circles with 7 and 9 overlap to form the part 16, "
        "where 7 + 9 = 16. Hence, the pattern is most likely that the numbers in the overlapping "
        "parts are the sum of the numbers in the corresponding circles.",
        "deduction": "Based on the pattern that the numbers in the overlapping parts are the sum "
        "of the numbers in the corresponding circles, the missing number of the circle where the "
        "overlapping part is 10 should be 1.",
    }


def test_an_option_takes_the_place_of_the_question_mark_as_a_number():
    filled = VENN.fill(OVERLAP, "8")
    assert "containing the numbers [7, 9, 8]." in VENN.word(filled).caption
    assert VENN.word(filled).answer == "1"


def test_the_sum_is_part_of_the_pattern():
    assert COLOR_NUMBER_HEXAGON.reasoning(HEXAGON).pattern == (
        "The pattern that the numbers in the parts of the same color add up to 10, holds "
        "consistently"
    )


def test_parts_of_one_color_have_one_sum_of_numbers_below_ten():
    rng = random.Random(0)
    for _ in range(100):
        scene = COLOR_NUMBER_HEXAGON.sample(rng)
        sums = {color: 0 for color in scene.colors}
        for color, number in zip(scene.colors, scene.numbers, strict=True):
            sums[color] += number
            assert 1 <= number <= 9
        assert len(sums) == 3
        assert len(set(sums.values())) == 1


def test_options_reach_as_far_as_the_answer_has_digits():
    rng = random.Random(0)
    for _ in range(100):
        scene = TRIANGLE.sample(rng)
        answer = scene.numbers[scene.missing]
        limit = 10 if answer <= 10 else 100
        assert all(0 <= int(option) <= limit for option in scene.options)
        assert len(set(scene.options)) == 4
