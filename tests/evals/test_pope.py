"""POPE's rule and scores, by hand."""

import pytest

from mmcot_jax.evals import pope
from mmcot_jax.example import Answered, Example, Reply


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ("Yes", "yes"),
        ("No", "no"),
        ("no", "no"),
        ("No, there is not.", "no"),
        ("There is no dog. Yes.", "no"),
        ("I do not see one", "no"),
        # only the first sentence counts
        ("Yes. There is no dog.", "yes"),
        # words are separated by single spaces, and case counts
        ("NO", "yes"),
        ("no!", "yes"),
        ("nothing", "yes"),
        ("", "yes"),
    ],
)
def test_the_rule_of_the_official_script(reply, read):
    assert pope.read_yes_no(reply) == read


def answered(text, label, subset="random", whole=False):
    extra = {
        "options": (),
        "possible_answers": (label,),
        "boxes": (),
        "space": None,
        "kind": subset,
        "reads_whole_reply": whole,
        "human_answers": (label,),
        "groups": {"subset": subset},
        "llava_answers": {},
    }
    return Answered(Example("q", ("?",), label, extra=extra), Reply((text,)), "?", 1, True)


def test_scores_by_subset_by_hand():
    rows = [
        answered("<answer>Yes</answer>", "yes"),
        answered("<answer>Yes</answer>", "yes"),
        answered("<answer>No</answer>", "yes"),
        answered("<answer>Yes</answer>", "no"),
        answered("<answer>No</answer>", "no"),
        answered("no tags", "no", "popular"),
        answered("No, none", "no", "popular", whole=True),
    ]
    results, kept = pope.summarize(rows)
    official = results["official"]
    # random: TP 2, FN 1, FP 1, TN 1
    two_thirds = pytest.approx(200 / 3)
    assert official["random"] == {
        "accuracy": 60.0, "precision": two_thirds, "recall": two_thirds, "f1": two_thirds,
        "yes": 60.0, "n": 5,
    }  # fmt: skip
    assert official["popular"] == {
        "accuracy": 50.0, "precision": 0.0, "recall": 0.0, "f1": 0.0, "yes": 0.0, "n": 2,
    }  # fmt: skip
    assert official["all"]["accuracy"] == pytest.approx(400 / 7)
    assert official["unanswered"] == pytest.approx(100 / 7)
    assert [row["correct"] for row in kept] == [True, True, False, False, True, False, True]
