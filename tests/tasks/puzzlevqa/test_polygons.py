import random

from mmcot_jax.tasks.puzzlevqa.polygons import (
    POLYGON_SIDES_COLOR,
    POLYGON_SIDES_NUMBER,
    PolygonScene,
)

NUMBERED = PolygonScene(
    sides=(9, 6, 8, 3, 4, 5),
    labels=(9, 6, 8, "?", 4, 5),
    missing=3,
    answer="3",
    options=("3", "6", "9", "7"),
)
COLORED = PolygonScene(
    sides=(3, 9, 8, 8, 9, 3),
    labels=("red", "blue", "?", "green", "blue", "red"),
    missing=2,
    answer="green",
    options=("red", "green", "purple", "orange"),
)


def test_numbered_polygons_are_worded_as_released():
    assert POLYGON_SIDES_NUMBER.word(NUMBERED)._asdict() == {
        "question": "What is the missing number of the part denoted with a question mark?",
        "options": ("3", "6", "9", "7"),
        "answer": "3",
        "caption": "There are 6 numbered polygons arranged in a triangle with number [9] in the "
        "top row, [6, 5] in the middle row, and [8, '?', 4] in the bottom row.",
        "explanation": "We observe that the polygon with 9 sides has the number 9, the polygon "
        "with 6 sides has the number 6, the polygon with 8 sides has the number 8, the polygon "
        "with 4 sides has the number 4, and the polygon with 5 sides has the number 5. Thus, the "
        "pattern is that the number inside the polygon represents the number of sides the polygon "
        "has.",
        "deduction": "Based on the pattern that the number inside the polygon represents the "
        "number of sides of the polygon, the missing number of the polygon with 3 sides should "
        "be 3.",
    }


def test_colored_polygons_name_the_sides_in_the_released_order():
    # Eight and nine come before three: remainders modulo 8 are 0, 1 and 3.
    words = POLYGON_SIDES_COLOR.word(COLORED)
    assert words.explanation == (
        "We observe that the polygon with 9 sides is blue in color and the polygon with 3 sides "
        "is red in color. Thus, the pattern is that the polygons with the same number of sides "
        "have the same color."
    )
    assert words.deduction == (
        "Based on the pattern that the polygons with the same number of sides have the same "
        "color, the missing color of the part with 8 sides should be green."
    )


def test_filling_writes_another_number_into_the_same_polygon():
    filled = POLYGON_SIDES_NUMBER.fill(NUMBERED, "7")
    assert filled.labels == (9, 6, 8, 7, 4, 5)
    assert filled.sides == NUMBERED.sides
    before, after = (POLYGON_SIDES_NUMBER.draw(scene, 512) for scene in (NUMBERED, filled))
    rows, columns = (before != after).any(-1).nonzero()
    # The middle of the lower row stands at 256, 343; its text is within 25 pixels.
    assert 231 <= columns.min() <= columns.max() <= 281
    assert 318 <= rows.min() <= rows.max() <= 368


def test_as_many_sides_have_one_color():
    rng = random.Random(0)
    for _ in range(50):
        scene = POLYGON_SIDES_COLOR.sample(rng)
        whole = tuple(scene.answer if label == "?" else label for label in scene.labels)
        assert len(set(zip(scene.sides, whole, strict=True))) == 3
