"""What a chain of thought and answer answers, and how good its form is."""

import numpy as np
import pytest

from mmcot_jax.example import Example, Picture, Reply
from mmcot_jax.rewards import chains

YES = Example("q", ("",), "Yes", extra={"candidate_answers": ("Yes", "No")})
DRAWN = Picture(np.arange(4, dtype=np.int32))


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
def test_an_answer_is_read_from_its_tags_also_after_a_picture(text, answer):
    assert chains.read_answer(text) == answer


def test_the_studys_reading_loses_what_follows_a_picture():
    text = "<think> <image> a </think> <answer> Yes </answer>"
    assert chains.read_before_images(text) is None
    assert chains.read_before_images(text.replace("<image>", "")) == "Yes"
    assert chains.judge(text, "Yes") is True and chains.judge(text, "No") is False
    assert chains.judge(text, "Yes", "reference") is None


@pytest.mark.parametrize(
    ("segments", "accuracy", "form"),
    [
        (("<think>a</think><answer>Yes</answer>",), 1.0, 1.0),
        ((" <think>a\nb</think>\n<answer>\nyes!</answer>\n",), 1.0, 1.0),
        (("<think> ", DRAWN, " a </think> <answer> Yes </answer>"), 1.0, 1.0),
        (("<think>", DRAWN, "</think><answer>No</answer>"), 0.0, 1.0),
        (('"<think>a</think><answer>Yes</answer>."',), 1.0, 0.5),
        (("- (<think>a</think> <answer>Yes</answer>) !",), 1.0, 0.5),
        (("so <think>a</think><answer>Yes</answer>",), 1.0, 0.0),
        (("<think>a</think><answer>Yes</answer> bye",), 1.0, 0.0),
        (("<think>a</think><think>b</think><answer>Yes</answer>",), 1.0, 0.0),
        (("<think>a<think>b</think></think><answer>Yes</answer>",), 1.0, 0.0),
        (("<think>a</think><answer>Yes</answer><answer>No</answer>",), 0.0, 0.0),
        (("<think> </think><answer>Yes</answer>",), 1.0, 0.0),
        (("<think>a</think><answer> </answer>",), 0.0, 0.0),
        (("<think>a</think><answer>", DRAWN, "</answer>"), 0.0, 0.0),
        (("<Think>a</Think><answer>Yes</answer>",), 1.0, 0.0),
        (("<think>a</think><answer>Уes</answer>",), 0.0, 1.0),  # a Cyrillic У
        (("<think>a", DRAWN), 0.0, 0.0),
        ((DRAWN,), 0.0, 0.0),
        ((), 0.0, 0.0),
    ],
)
def test_a_chain_is_scored_whatever_a_model_wrote(segments, accuracy, form):
    reply = Reply(segments)
    assert chains.accuracy_normalized(YES, reply) == accuracy
    assert chains.format_tiered(YES, reply) == form


def test_what_the_prompt_began_belongs_to_the_chain():
    given = YES._replace(extra={**YES.extra, "begun": " <think><image>"})
    reply = Reply((" a </think> <answer>Yes</answer>",))
    assert chains.format_tiered(given, reply) == 1.0
    assert chains.format_tiered(YES, reply) == 0.0


def test_a_long_reply_is_scored_at_once():
    text = "<think>" * 3000 + "a" * 3000
    assert chains.format_tiered(YES, Reply((text,))) == 0.0


@pytest.mark.parametrize(("answer", "candidates"), [("Maybe", ("Yes", "No")), ("-", ("-",))])
def test_a_question_without_a_right_answer_is_a_fault_of_the_data(answer, candidates):
    example = Example("q7", ("",), answer, extra={"candidate_answers": candidates})
    with pytest.raises(ValueError, match="example 'q7' has the answer"):
        chains.accuracy_normalized(example, Reply(()))
