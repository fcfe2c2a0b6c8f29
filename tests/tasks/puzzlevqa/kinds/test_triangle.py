import random

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.triangle import KIND

SCENE = Scene(values=(4, 5, 20, 3, 1, 3, 9, 7, 63), missing=2, options=("62", "46", "39", "20"))


def test_groups_of_products_are_worded_as_released():
    assert KIND.word(SCENE)._asdict() == {
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


def test_options_reach_as_far_as_the_answer_has_digits():
    rng = random.Random(0)
    for _ in range(100):
        scene = KIND.sample(rng)
        answer = int(scene.answer)
        limit = 10 if answer <= 10 else 100
        assert all(0 <= int(option) <= limit for option in scene.options)
        assert len(set(scene.options)) == 4
