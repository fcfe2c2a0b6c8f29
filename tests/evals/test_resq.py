"""Results of several answers to each question: pass@k by two parsers, and rows."""

import numpy as np
import pytest

from mmcot_jax.evals import resq
from mmcot_jax.example import Answered, Example, Picture, Reply

PICTURE = Picture(np.arange(4, dtype=np.int32))
YES = ("<think>", PICTURE, " a</think> <answer> Yes </answer>")
NO = ("<think>a</think> <answer>no.</answer>",)
CUT = ("<think>", PICTURE)


def answered(id, answer, *chains):
    example = Example(id, ("?",), answer, extra={"candidate_answers": ("Yes", "No")})
    return [Answered(example, Reply(chain), "USER: ?", 9, chain != CUT) for chain in chains]


ANSWERS = [*answered("a", "Yes", YES, NO, CUT), *answered("b", "No", NO, NO, NO)]


def test_answers_after_pictures_count_except_for_the_studys_parser():
    results, _ = resq.summarize(ANSWERS)
    assert results == {
        "strict": {
            "n": 2,
            "samples": 3,
            "pass@1": pytest.approx(2 / 3),
            "pass@3": 1.0,
            "unanswered": 1 / 6,
        },
        "reference": {"n": 2, "samples": 3, "pass@1": 0.5, "pass@3": 0.5, "unanswered": 2 / 6},
    }


def test_every_answer_is_a_row_with_the_answer_read():
    _, rows = resq.summarize(ANSWERS)
    assert rows[0] == {
        "id": "a",
        "prompt": "USER: ?",
        "reply": "<think><image> a</think> <answer> Yes </answer>",
        "answer": "Yes",
        "read": "Yes",
        "correct": True,
        "tokens": 9,
        "ended": True,
    }
    assert [(row["read"], row["correct"]) for row in rows[1:4]] == [
        ("no.", False),
        (None, None),
        ("no.", True),
    ]


def test_correct_uses_the_strict_parser():
    assert resq.correct(ANSWERS) == (True, False, False, True, True, True)
