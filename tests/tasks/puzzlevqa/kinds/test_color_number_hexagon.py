import random

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.color_number_hexagon import KIND

SCENE = Scene(
    values=(3, 1, 9, 1, 7, 9),
    missing=2,
    options=("4", "9", "2", "1"),
    attributes=("purple", "orange", "red", "red", "purple", "orange"),
)


def test_a_hexagon_of_sums_is_worded_as_released():
    assert KIND.word(SCENE)._asdict() == {
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


def test_the_sum_is_part_of_the_pattern():
    assert KIND.reasoning(SCENE).pattern == (
        "The pattern that the numbers in the parts of the same color add up to 10, holds "
        "consistently"
    )


def test_parts_of_one_color_have_one_sum_of_numbers_below_ten():
    rng = random.Random(0)
    for _ in range(100):
        scene = KIND.sample(rng)
        sums = {color: 0 for color in scene.attributes}
        for color, number in zip(scene.attributes, scene.values, strict=True):
            sums[color] += number
            assert 1 <= number <= 9
        assert len(sums) == 3
        assert len(set(sums.values())) == 1
