import random

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.grid_number import KIND

SCENE = Scene(values=(7, 3, 7, 9, 3, 5, 5, 5, 7), missing=5, options=("7", "9", "1", "5"))


def test_sums_name_the_two_whole_rows_first():
    words = KIND.word(SCENE)
    assert words.explanation == (
        "We observe that [7, 3, 7] sums to 17, and [5, 5, 7] also sums to 17. Thus, the pattern "
        "is that the numbers in each row add up to the same value."
    )
    assert words.deduction == (
        "Based on the pattern that the numbers in each row add up to the same value, the missing "
        "number of the row [9, 3, '?'] should be 5."
    )


def test_rows_have_one_sum_and_at_least_four_numbers():
    rng = random.Random(0)
    for _ in range(50):
        scene = KIND.sample(rng)
        whole = scene.fill(scene.answer).labels
        assert sum(whole[:3]) == sum(whole[3:6]) == sum(whole[6:])
        assert len(set(whole)) >= 4
