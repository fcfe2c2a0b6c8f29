from mmcot_jax.tasks.puzzlevqa.kind import Scene
from mmcot_jax.tasks.puzzlevqa.kinds.venn import KIND

SCENE = Scene(values=(7, 9, 1), missing=2, options=("4", "8", "1", "9"))


def test_overlapping_circles_are_worded_as_released():
    assert KIND.word(SCENE)._asdict() == {
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
    filled = SCENE.fill("8")
    assert "containing the numbers [7, 9, 8]." in KIND.word(filled).caption
    assert KIND.word(filled).answer == "1"
