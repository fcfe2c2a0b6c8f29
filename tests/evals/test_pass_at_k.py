"""pass@k counted by hand, over answers in any order, and over the study's stored verdicts."""

import itertools

import pytest

from mmcot_jax.evals import pass_at_k as metric


@pytest.mark.parametrize(
    ("n", "right", "k", "expected"),
    [
        (5, 0, 3, 0.0),
        (5, 1, 1, 1 / 5),
        (5, 1, 3, 6 / 10),  # of the 10 threes, the 4 C 2 with the right one
        (5, 2, 3, 9 / 10),  # but the one three of wrong ones
        (5, 3, 3, 1.0),
        (9, 2, 3, 1 - 35 / 84),
        (1, 1, 1, 1.0),
    ],
)
def test_pass_at_k_by_hand(n, right, k, expected):
    assert metric.pass_at_k(n, right, k) == pytest.approx(expected)
    answers = [True] * right + [False] * (n - right)
    threes = list(itertools.combinations(answers, k))
    assert metric.pass_at_k(n, right, k) == pytest.approx(sum(map(any, threes)) / len(threes))


def test_a_mean_over_questions_counts_no_answer_as_wrong():
    found = metric.summarize([[True, None, False, False, None], [True] * 5, [False] * 5])
    assert found == {
        "n": 3,
        "samples": 5,
        "pass@1": pytest.approx((0.2 + 1 + 0) / 3),
        "pass@3": pytest.approx((0.6 + 1 + 0) / 3),
        "unanswered": pytest.approx(2 / 15),
    }


def test_pass_3_is_left_out_if_a_question_has_two_answers():
    found = metric.summarize([[True, False], [True] * 5])
    assert (found["samples"], found["pass@1"]) == (2, 0.75) and "pass@3" not in found


def test_answers_of_a_question_need_not_be_adjacent():
    verdicts = metric.by_question(["b", "a", "b"], [True, None, False])
    assert verdicts == [[True, False], [None]]


def test_the_studys_layout_is_read():
    assert metric.stored({"0": [True, None], "1": [False, False]}) == [[True, None], [False, False]]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({}, "no question; number -> true, false or null each is expected"),
        ({"0": [True], "1": []}, r"question '1' has \[\]; true, false or null for each"),
        ({"0": [1, 0]}, r"question '0' has \[1, 0\]"),
        ({"0": "Yes"}, "question '0' has 'Yes'"),
    ],
)
def test_unexpected_content_is_named(record, words):
    with pytest.raises(ValueError, match=words):
        metric.stored(record)


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="pass@3 of 2 answers, 1 correct: give at least 3"):
        metric.pass_at_k(2, 1, 3)
    for verdicts in ([], [[True], []]):
        with pytest.raises(ValueError, match="sample each at least once"):
            metric.summarize(verdicts)
