"""Rewards for replies with thoughts and answers in tags."""

import pytest

from mmcot_jax.example import Example, Reply
from mmcot_jax.rewards import tags


def example(answer, options=("x", "y", "z", "w"), **extra):
    return Example("q/1", ("?",), answer, extra={"options": options, **extra})


def reply(text):
    return Reply((text,))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<think>t</think> <answer>C, B</answer>", 1.0),
        ("<answer>(B), (C)</answer>", 1.0),
        ("<answer>B</answer>", 0.0),
        ("<answer>A, B, C</answer>", 0.0),
        ("B, C", 0.0),
        ("<answer>B, C", 0.0),
    ],
)
def test_letters_are_right_as_a_set(text, value):
    assert tags.accuracy(example("B, C"), reply(text)) == value


@pytest.mark.parametrize(
    ("answer", "value"), [("Two dogs.", 1.0), ("2", 1.0), (" TWO  dogs", 1.0), ("dogs", 0.0)]
)
def test_without_options_any_of_the_short_answers_is_right(answer, value):
    target = example("two dogs", options=(), possible_answers=("two dogs", "2"))
    assert tags.accuracy(target, reply(f"<answer>{answer}</answer>")) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<think>x</think> <answer>A</answer>", 1.0),
        (" <think>x\ny</think>\n<answer>A</answer>\n", 1.0),
        ("<think>x</think><answer>A</answer> trailing", 0.0),
        ("so <think>x</think><answer>A</answer>", 0.0),
        ("<think>x</think><think>y</think><answer>A</answer>", 0.0),
        ("<think>x</think> <answer>A</answer> <answer>B</answer>", 0.0),
        ("<think> </think> <answer>A</answer>", 0.0),
        ("<think>x</think> <answer></answer>", 0.0),
        ("<answer>A</answer> <think>x</think>", 0.0),
        ("", 0.0),
    ],
)
def test_the_form_is_one_thought_and_one_answer_and_nothing_else(text, value):
    assert tags.format(example("A"), reply(text)) == value


@pytest.mark.parametrize("answer", ["E", "", "x"])
def test_an_example_whose_answer_is_no_option_is_refused(answer):
    with pytest.raises(ValueError, match=r"'q/1' has the answer .* and 4 options; give"):
        tags.accuracy(example(answer), reply("<answer>A</answer>"))


def test_an_example_without_any_answer_is_refused():
    with pytest.raises(ValueError, match=r"'q/1' has no answer: \[''\]; give one"):
        tags.accuracy(example("", options=()), reply("<answer>A</answer>"))
