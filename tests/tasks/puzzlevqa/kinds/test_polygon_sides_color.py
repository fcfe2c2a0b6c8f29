import random

from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.polygon_sides_color import KIND

SCENE = Scene(
    values=("red", "blue", "green", "green", "blue", "red"),
    missing=2,
    options=("red", "green", "purple", "orange"),
    attributes=(3, 9, 8, 8, 9, 3),
)


def test_colored_polygons_name_the_sides_in_the_released_order():
    # Eight and nine come before three: remainders modulo 8 are 0, 1 and 3.
    words = KIND.word(SCENE)
    assert words.explanation == (
        "We observe that the polygon with 9 sides is blue in color and the polygon with 3 sides "
        "is red in color. Thus, the pattern is that the polygons with the same number of sides "
        "have the same color."
    )
    assert words.deduction == (
        "Based on the pattern that the polygons with the same number of sides have the same "
        "color, the missing color of the part with 8 sides should be green."
    )


def test_as_many_sides_have_one_color():
    rng = random.Random(0)
    for _ in range(50):
        scene = KIND.sample(rng)
        whole = scene.fill(scene.answer).labels
        assert len(set(zip(scene.attributes, whole, strict=True))) == 3
