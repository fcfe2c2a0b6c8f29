"""Thoughts and answers in tags, read leniently."""

import pytest

from mmcot_jax.answers import think_answer


def test_the_first_closed_block_is_read():
    text = "<think>a\nb</think> <answer> B, C </answer><answer>D</answer>"
    assert (think_answer.read_thought(text), think_answer.read_answer(text)) == ("a\nb", "B, C")
    assert (think_answer.read_thought("<think>a"), think_answer.read_answer("B")) == ("", None)


@pytest.mark.parametrize(
    ("answer", "letters"),
    [
        ("B, C", "BC"),
        ("C,B", "BC"),
        ("(c) and (B)", "BC"),
        ("b, c", "BC"),
        ("a and b", "AB"),
        ("B C.", "BC"),
        ("A and B", "AB"),
        ("B: green", "B"),
        ("D.", "D"),
        ("A dog", ""),
        ("I'm not sure", ""),
        ("All of the above", ""),
        ("BAD", ""),
        ("", ""),
    ],
)
def test_an_answer_names_a_set_of_letters(answer, letters):
    assert think_answer.option_letters(answer) == frozenset(letters)


def test_short_answers_are_compared_without_case_outer_marks_and_doubled_spaces():
    assert think_answer.normalize(" Two  Dogs.") == "two dogs"
    assert think_answer.normalize("U.S.") == "u.s"
