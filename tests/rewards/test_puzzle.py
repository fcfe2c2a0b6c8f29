"""Rewards for a puzzle's reply: its letter and its form."""

import numpy as np
import pytest

from mmcot_jax.example import Example, Picture, Reply
from mmcot_jax.rewards import puzzle

EXAMPLE = Example("0", (), "B", extra={"options": ("red", "blue", "green")})
PICTURE = Picture(np.arange(4))
FINAL = "# Final Answer:\nTherefore, among (A) (B) (C), the answer is: (B)."
PATTERN = "The colours alternate.\n\n"


def drawn(letters: str, pictures: int = 1, final: str = FINAL) -> Reply:
    segments: list = [PATTERN]
    for letter in letters:
        segments += [f"# Option {letter}\nReplacing: ", *[PICTURE] * pictures, "\nIt fits.\n\n"]
    return Reply((*segments, final))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("the answer is: (B).", 1.0),
        ("the answer is: (A).", 0.0),
        ("the answer is: (A). No: the answer is: (B).", 1.0),
        ("(B)", 0.0),
        ("", 0.0),
    ],
)
def test_accuracy_is_1_where_the_last_stated_letter_is_right(reply, expected):
    assert puzzle.accuracy(EXAMPLE, Reply((reply,))) == expected


@pytest.mark.parametrize(
    ("reply", "form", "form_drawn"),
    [
        (drawn("ABC"), 1.0, 1.0),
        (drawn(""), 1.0, 0.0),  # the textual chain
        (drawn("AB"), 0.0, 0.0),
        (drawn("ACB"), 0.0, 0.0),
        (drawn("ABC", pictures=0), 0.0, 0.0),
        (drawn("ABC", pictures=2), 0.0, 0.0),
        (drawn("ABC", final="# Final Answer:\nBased on it."), 0.0, 0.0),
        (drawn("ABC", final=FINAL + "\n" + FINAL), 0.0, 0.0),
        (Reply((FINAL,)), 0.0, 0.0),  # no pattern before it
        (Reply(()), 0.0, 0.0),
    ],
)
def test_a_chain_has_the_taught_form_or_not(reply, form, form_drawn):
    assert puzzle.format(EXAMPLE, reply) == form
    assert puzzle.format_drawn(EXAMPLE, reply) == form_drawn


def test_a_question_without_its_answers_option_is_a_fault_of_the_data():
    with pytest.raises(ValueError, match="'0' has the answer 'D' and 3 options"):
        puzzle.accuracy(EXAMPLE._replace(answer="D"), Reply(()))
