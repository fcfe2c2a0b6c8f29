"""Yes or No read from a reply and judged."""

import pytest

from mmcot_jax.answers import yes_no


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>a</think> <answer> Yes </answer>", "Yes"),
        ("<think><image> a</think> <answer>Yes</answer>", "Yes"),
        ("<answer>No\n</answer>", "No"),
        ("<answer>Yes.</answer> so <answer>yes</answer>", "yes"),
        ("<answer>Yes</answer><answer>No</answer>", None),
        ("<answer>Yes", None),
        ("Yes", None),
        ("", None),
    ],
)
def test_an_answer_is_read_from_its_tags_even_after_a_picture(text, answer):
    assert yes_no.read_unanimous(text) == answer


def test_the_studys_parser_misses_answers_after_a_picture():
    text = "<think> <image> a </think> <answer> Yes </answer>"
    assert yes_no.read_before_images(text) is None
    assert yes_no.read_before_images(text.replace("<image>", "")) == "Yes"
    assert yes_no.judge(text, "Yes") is True and yes_no.judge(text, "No") is False
    assert yes_no.judge(text, "Yes", "reference") is None
