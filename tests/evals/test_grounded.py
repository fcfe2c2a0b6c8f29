"""Results of answers about pictures, and rows that can be scored again."""

import json

import pytest

from mmcot_jax import score
from mmcot_jax.boxes import Box, Space
from mmcot_jax.evals import grounded
from mmcot_jax.example import Answered, Example, Reply

SPACE = Space("resized", 100, 100)
CAR = Box("car", 0, 0, 10, 10, SPACE)


def answered(text, answer="A", options=("x", "y"), kind="place", boxes=(CAR,)):
    extra = {
        "kind": kind,
        "options": options,
        "possible_answers": ("two", "2"),
        "boxes": boxes,
        "space": SPACE,
    }
    example = Example("q/1", ("?",), answer, extra=extra)
    return Answered(example, Reply((text,)), "<image>?", tokens=5, ended=True)


RIGHT = "<think>[0,0,10,10 car]</think> <answer>A</answer>"


def test_letters_boxes_and_kinds():
    rows = [answered(RIGHT), answered("<think>x</think> <answer>b</answer>", kind="count")]
    results, kept = grounded.summarize(rows)
    half = {"exam_score": 50.0, "precision": 50.0, "recall": 50.0, "f1_score": 50.0}
    assert results["multiple_choice"]["strict"] == half
    assert results["multiple_choice"]["reference"]["precision"] == 100.0
    assert results["boxes"]["iou"] == 0.5 and results["boxes"]["n"] == 2
    assert results["kinds"] == {
        "place": {"accuracy": 1.0, "n": 1},
        "count": {"accuracy": 0.0, "n": 1},
    }
    assert grounded.correct(rows) == (True, False)
    assert kept[0] == {
        "id": "q/1",
        "kind": "place",
        "prompt": "<image>?",
        "reply": RIGHT,
        "options": ["x", "y"],
        "answer": "A",
        "possible_answers": ["two", "2"],
        "answers": ["A"],
        "correct": True,
        "space": ["resized", 100, 100],
        "boxes": [["car", 0, 0, 10, 10]],
        "gold_boxes": [["car", 0, 0, 10, 10]],
        "tokens": 5,
        "ended": True,
    }


def test_short_answers_and_questions_without_boxes_or_kinds():
    rows = [
        answered("<answer>2</answer>", answer="two", options=(), kind=None, boxes=()),
        answered("2", answer="two", options=(), kind=None, boxes=()),
    ]
    results, kept = grounded.summarize(rows)
    assert set(results) == {"short_answer"}
    assert results["short_answer"]["strict"]["accuracy"] == 50.0
    assert [row["correct"] for row in kept] == [True, False]


def test_a_task_of_one_s_own_needs_no_extra():
    example = Example("own/1", ("2 + 2?",), "4")
    rows = [Answered(example, Reply(("<answer>4</answer>",)), "2 + 2?", 5, True)]
    results, (row,) = grounded.summarize(rows)
    assert results["short_answer"]["strict"]["accuracy"] == 100.0 and "boxes" not in results
    assert (row["options"], row["possible_answers"], row["correct"]) == ([], ["4"], True)


@pytest.mark.parametrize(("metric", "options"), [("mcq", ("x", "y")), ("short_answer", ())])
def test_stored_rows_are_scored_to_the_same_numbers(tmp_path, capsys, metric, options):
    texts = (RIGHT, "<answer>2</answer>", "<answer>B</answer>")
    rows = [answered(text, answer="A" if options else "two", options=options) for text in texts]
    results, kept = grounded.summarize(rows)
    path = tmp_path / "eval.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in kept))
    assert score.main(["--metric", metric, str(path)]) == 0
    said = json.loads(capsys.readouterr().out)
    (name,) = set(results) & {"multiple_choice", "short_answer"}
    assert {key: said[key] for key in results[name]["strict"]} == results[name]["strict"]


def test_a_set_may_have_questions_with_options_and_without():
    rows = [answered(RIGHT), answered("<answer>cat</answer>", options=()), answered(RIGHT)]
    results, kept = grounded.summarize(rows)
    assert results["multiple_choice"]["strict"]["exam_score"] == 100.0
    assert set(results["short_answer"]["strict"].values()) == {0.0}
    assert [row["correct"] for row in kept] == [True, False, True]
    assert [row["answers"] for row in kept] == [["A"], ["cat"], ["A"]]
