from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.polygon_sides_number import KIND

SCENE = Scene(values=(9, 6, 8, 3, 4, 5), missing=3, options=("3", "6", "9", "7"))


def test_numbered_polygons_are_worded_as_released():
    assert KIND.word(SCENE)._asdict() == {
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


def test_filling_writes_another_number_into_the_same_polygon():
    filled = SCENE.fill("7")
    assert filled.labels == [9, 6, 8, 7, 4, 5]
    assert filled.values == SCENE.values
    before, after = (KIND.draw(scene, 512) for scene in (SCENE, filled))
    rows, columns = (before != after).any(-1).nonzero()
    # The middle of the lower row stands at 256, 343; its text is within 25 pixels.
    assert 231 <= columns.min() <= columns.max() <= 281
    assert 318 <= rows.min() <= rows.max() <= 368
