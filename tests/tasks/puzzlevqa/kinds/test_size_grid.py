import random

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.size_grid import KIND

SCENE = Scene(
    values=("small", "large", "small", "large", "medium", "large", "small", "large", "small"),
    missing=0,
    options=("large", "small", "medium"),
)


def test_sized_circles_say_where_the_missing_one_is():
    words = KIND.word(SCENE)
    assert words.answer == "small"
    assert words.explanation == (
        "We observe that the circles at the corners are small size, while the circles directly "
        "adjacent to the center are large size. Only the center circle is medium size. Hence, the "
        "pattern is that the circles alternate in size depending on if they are at the corner or "
        "adjacent to the center."
    )
    assert words.deduction.endswith(
        "the size of the missing part that is at the corner should be small."
    )


def test_the_center_is_never_asked_for():
    rng = random.Random(0)
    target = {KIND.sample(rng).missing for _ in range(200)}
    assert target == {0, 1, 2, 3, 5, 6, 7, 8}
