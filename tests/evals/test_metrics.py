"""Accuracies from letters and short answers, numbers from boxes."""

import pytest

from mmcot_jax.boxes import Box, Space
from mmcot_jax.evals import metrics
from mmcot_jax.evals.metrics import Choice, by_kind, puzzle


def test_the_puzzle_metric_compares_the_options_text():
    colors = ("red", "blue", "green", "white")
    rows = [
        Choice(colors, "blue", "the answer is: (B)."),
        Choice(colors, "blue", "the answer is: (A)."),
        Choice(colors, "blue", "Final Answer: Based on nothing"),
        Choice(colors[:3], "green", "the answer is: (D)."),
    ]
    strict = puzzle(rows)
    assert strict.letters == ("B", "A", None, None)
    assert strict.correct == (True, False, False, False)
    assert strict.accuracy == 0.25
    reference = puzzle(rows, "reference")
    assert reference.letters == ("B", "A", "B", "D")
    assert reference.accuracy == 0.5


def test_the_prompt_is_read_by_the_reference_parser_only():
    row = Choice(("red", "blue"), "red", "Hm.", prompt="The answer is (A)? ")
    assert puzzle([row]).letters == (None,)
    assert puzzle([row], "reference").letters == ("A",)


def test_an_unknown_parser_and_no_rows_are_errors():
    with pytest.raises(ValueError, match="parser is 'lax'; choose from strict, reference"):
        puzzle([Choice(("red", "blue"), "red", "")], "lax")
    with pytest.raises(ValueError, match="no rows to score"):
        puzzle([])


def test_each_kind_counts_once_in_the_means():
    numbers = by_kind(
        kinds=["grid", "grid", "grid", "grid", "venn", "triangle"],
        domains=["in_domain"] * 4 + ["out_of_domain", "in_domain"],
        correct=[True, True, True, False, False, True],
    )
    assert numbers == {
        "accuracy": (0.75 + 0.0 + 1.0) / 3,
        "in_domain": 0.875,
        "out_of_domain": 0.0,
        "kinds": {
            "grid": {"accuracy": 0.75, "n": 4, "domain": "in_domain"},
            "venn": {"accuracy": 0.0, "n": 1, "domain": "out_of_domain"},
            "triangle": {"accuracy": 1.0, "n": 1, "domain": "in_domain"},
        },
    }


def test_a_domain_without_kinds_has_no_mean():
    assert by_kind(["grid"], ["in_domain"], [True])["out_of_domain"] is None


def test_kinds_without_rows_or_with_a_wrong_domain_are_errors():
    with pytest.raises(ValueError, match="no rows to average"):
        by_kind([], [], [])
    with pytest.raises(ValueError, match="domain of grid is 'ID'; choose in_domain or out_of"):
        by_kind(["grid"], ["ID"], [True])
    with pytest.raises(ValueError, match="grid is in both domains"):
        by_kind(["grid", "grid"], ["in_domain", "out_of_domain"], [True, True])


def test_letters_are_pooled_over_rows():
    rows = [
        metrics.Tagged(("A",), "<answer>A</answer>"),
        metrics.Tagged(("A, B",), "<answer>A</answer>"),
        metrics.Tagged(("C",), "<answer>B, C</answer>"),
        metrics.Tagged(("D",), "no"),
    ]
    scored = metrics.multiple_choice(rows)
    assert scored.answers == (("A",), ("A",), ("B", "C"), ())
    assert scored.correct == (True, False, False, False)
    assert scored.scores == {
        "exam_score": 25.0,
        "precision": 75.0,
        "recall": 60.0,
        "f1_score": pytest.approx(200 * 0.75 * 0.6 / 1.35),
    }


def test_a_letter_beyond_the_options_of_a_row_is_none():
    text = "<answer>(C) I would wait.</answer>"
    scored = metrics.multiple_choice([metrics.Tagged(("C",), text, 4)])
    assert scored.answers == (("C",),) and scored.correct == (True,)


def test_percent_is_rounded_as_in_the_study():
    rows = [metrics.Tagged(("A",), f"<answer>{x}</answer>") for x in "ABC"]
    assert metrics.multiple_choice(rows).scores["exam_score"] == 100 * 1 / 3 == 33.333333333333336
    assert metrics.short_answer(rows).scores["accuracy"] == 100 * (1 / 3) == 33.33333333333333


@pytest.mark.parametrize(
    ("answer", "strict", "reference"),
    [
        ("BAD", (), ("A", "B", "D")),
        ("All of the above", (), ("A",)),
        ("(1)", (), ("(1)",)),
        ("b", ("B",), ()),
    ],
)
def test_the_study_reads_letters_in_words_and_not_small_ones(answer, strict, reference):
    rows = [metrics.Tagged(("A",), f"<answer>{answer}</answer>")]
    assert metrics.multiple_choice(rows).answers == (strict,)
    assert metrics.multiple_choice(rows, "reference").answers == (reference,)


def test_one_of_several_short_answers_counts_as_the_first():
    rows = [
        metrics.Tagged(("two dogs", "2"), "<answer>2.</answer>"),
        metrics.Tagged(("yes",), "yes"),
        metrics.Tagged(("yes",), "<answer>no</answer>"),
    ]
    scored = metrics.short_answer(rows)
    assert scored.answers == (("two dogs",), (), ("no",))
    assert scored.correct == (True, False, False)
    assert (scored.scores["precision"], scored.scores["recall"]) == (50.0, pytest.approx(100 / 3))
    assert metrics.short_answer(rows, "reference").correct == (False, False, False)
    with pytest.raises(ValueError, match="parser is 'lenient'; choose from strict, refer"):
        metrics.short_answer(rows, "lenient")


def test_boxes_have_four_scores_over_the_rows_with_gold_boxes():
    space = Space("resized", 100, 100)
    car, sign = Box("car", 0, 0, 10, 10, space), Box("sign", 50, 50, 60, 60, space)
    gold = [(car, sign), (car,), ()]
    replies = ["<think>[0,0,10,10 car] [0,0,99,99 all]</think>", "<think>x</think>", ""]
    assert metrics.boxes(gold, replies) == {
        "n": 2,
        "parse_rate": 0.5,
        "iou": 0.25,
        "recall@0.5": pytest.approx(1 / 3),
        "whole_image_rate": 0.5,
    }
    assert metrics.boxes([()], ["<think>[0,0,10,10 car]</think>"]) is None
