"""Answers that must equal the right one, by hand."""

import pytest

from mmcot_jax.evals import exact_match
from mmcot_jax.example import Answered, Example, Reply


def answered(text, answer, whole=False, **extra):
    fields = {
        "options": (),
        "possible_answers": (answer,),
        "boxes": (),
        "space": None,
        "reads_whole_reply": whole,
        "human_answers": (answer,),
        "groups": {"answer_type": "open", "structural": "query"},
        "llava_answers": {},
    }
    example = Example("q", ("?",), answer, extra=fields | extra)
    return Answered(example, Reply((text,)), "?", 1, True)


def test_gqa_by_hand():
    binary = {"groups": {"answer_type": "binary", "structural": "verify"}}
    rows = [
        answered("<answer>Window.</answer>", "window"),
        answered("<answer>windows</answer>", "window"),
        answered("Yes", "yes", whole=True, **binary),
        answered("yes", "yes", **binary),
    ]
    official = exact_match.summarize(rows)[0]["official"]
    assert (official["accuracy"], official["n"], official["unanswered"]) == (50.0, 4, 25.0)
    assert official["by_answer_type"] == {
        "binary": {"accuracy": 50.0, "n": 2},
        "open": {"accuracy": 50.0, "n": 2},
    }
    assert official["by_structural"]["verify"] == {"accuracy": 50.0, "n": 2}
    assert exact_match.correct(rows) == (True, False, True, False)


def test_an_unclosed_thought_is_no_answer():
    assert exact_match.correct([answered("<think>yes", "yes", whole=True)]) == (False,)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("B", True),
        ("(B) red", True),
        ("b", True),
        ("red", True),
        ("The answer is B.", True),
        ("B. red", True),
        ("A", False),
        ("blue", False),
        ("A, B", False),
        ("", False),
    ],
)
def test_a_choice_by_its_letter_or_its_text(answer, right):
    assert exact_match.is_right_choice(answer, ("B",), ("blue", "red")) is right


def test_a_choice_whose_text_names_another_letter():
    choices = ("neither", "sample A", "sample B")
    assert exact_match.is_right_choice("C. sample B", ("C",), choices)
    assert not exact_match.is_right_choice("C. sample B", ("B",), choices)


def test_several_right_letters():
    assert exact_match.is_right_choice("B, A", ("A", "B"), ("blue", "red", "green"))
    assert not exact_match.is_right_choice("A", ("A", "B"), ("blue", "red", "green"))
