"""Rewards for the answer and the form of replies that may draw."""

import numpy as np
import pytest

from mmcot_jax.example import Example, Picture, Reply
from mmcot_jax.rewards import chains

YES = Example("q", ("",), "Yes", extra={"candidate_answers": ("Yes", "No")})
DRAWN = Picture(np.arange(4, dtype=np.int32))


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


def test_a_start_given_in_the_prompt_is_scored_as_part_of_the_reply():
    given = YES._replace(extra={**YES.extra, "prefill": " <think><image>"})
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
