"""ScienceQA's scores by group, by hand."""

import pytest

from mmcot_jax.evals import scienceqa
from mmcot_jax.example import Answered, Example, Reply
from mmcot_jax.tasks.scienceqa import groups


def answered(text, letter, **named):
    extra = {
        "options": ("x", "y"),
        "possible_answers": (letter,),
        "boxes": (),
        "space": None,
        "reads_whole_reply": False,
        "human_answers": (letter,),
        "choices": ("x", "y"),
        "letters": (letter,),
        "groups": groups(**named),
        "llava_answers": {"reference": "A", "strict": "A"},
    }
    return Answered(Example("q", ("?",), letter, extra=extra), Reply((text,)), "?", 1, True)


def test_a_hint_with_an_image_is_in_both_groups_of_context():
    both = {"subject": "natural science", "grade": "grade3", "hint": "h", "has_image": True}
    alone = {"subject": "social science", "grade": "grade7", "hint": "", "has_image": False}
    rows = [
        answered("<answer>A</answer>", "A", **both),
        answered("<answer>(A)</answer>", "B", **both),
        answered("<answer>b</answer>", "B", **alone),
        answered("B", "B", **alone),
    ]
    results, kept = scienceqa.summarize(rows)
    official = results["official"]
    half = {"accuracy": 50.0, "n": 2}
    assert (official["accuracy"], official["n"], official["unanswered"]) == (50.0, 4, 25.0)
    assert official["by_subject"] == {"natural": half, "social": half}
    assert official["by_context"] == {"has_text": half, "has_image": half, "no_context": half}
    assert official["by_grade"] == {"grade_1_6": half, "grade_7_12": half}
    assert results["llava_agreement"]["reference"]["accuracy"] == 25.0  # "(A)" is not "a"
    assert scienceqa.correct(rows) == (True, False, True, False)
    assert kept[0]["benchmark"]["groups"]["context"] == ("has_text", "has_image")


@pytest.mark.parametrize(
    ("grade", "group"),
    [("grade6", "grade_1_6"), ("grade12", "grade_7_12"), ("grade6²", "grade_1_6")],
)
def test_grades(grade, group):
    found = groups(subject="", grade=grade, hint="", has_image=False)
    assert found == {"subject": (), "context": ("no_context",), "grade": (group,)}
