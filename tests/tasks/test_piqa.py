"""PIQA's records become the study's prompts, answered 0 or 1."""

import json

import pytest

from mmcot_jax.tasks import piqa

RECORD = {"goal": "dry a {wet} shoe", "sol1": "put it in the sun", "sol2": "put it in the rain"}
TEXTUAL = (
    "USER: I describe you my goal, and give you 2 solutions to achieve it. Reason over the 2 "
    "offered solutions to figure out which one achieves the goal. Then, provide with the final "
    "answer as 0 or 1, referring to solution 1 or solution 2 respectively. So, the final answer is "
    'either "0" or "1". The reasoning process and the final answer are enclosed within <think> '
    "</think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process here "
    "</think> <answer> the final answer here </answer>.\nGoal: dry a {wet} shoe\nSolution 1: put "
    "it in the sun\nSolution 2: put it in the rain\nASSISTANT:"
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps(RECORD) + "\n" + json.dumps(RECORD) + "\n")
    (tmp_path / "train-labels.lst").write_text("0\n1\n")
    return tmp_path


def test_a_goal_and_its_solutions_become_the_studys_prompt(folder):
    first, second = piqa.load(str(folder), prompt="textual")
    assert first.prompt == (TEXTUAL,)
    assert (first.answer, second.answer, second.id) == ("0", "1", "piqa/train/00001")
    assert first.extra == {"scene": "dry a {wet} shoe", "candidate_answers": ("0", "1")}
    (drawn,) = piqa.load(str(folder), count=1)
    assert drawn.prompt[0].startswith(
        "USER: I describe you my goal, and give you 2 solutions to achieve it. Generate images to "
        "visualize the 2 described solutions, and reason over them with text to figure out which "
        "solution achieves the goal. Then, provide with the final answer as 0 or 1,"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "test"}, "split is 'test'; choose from train, validation"),
        ({"split": "validation"}, "PIQA: there is no .*dev.jsonl; give the folder"),
        ({"prompt": "given_image"}, "prompt is 'given_image'; choose from multimodal, text"),
        ({"count": 3}, "count 3 of 2 train records; give 0 for all"),
    ],
)
def test_a_wrong_option_is_named(folder, options, words):
    with pytest.raises(ValueError, match=words):
        piqa.load(str(folder), **options)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("train-labels.lst", "0\n", "has 2 questions and 1 labels"),
        ("train-labels.lst", "0\n2\n", "'00001' of .*train.jsonl:2 has the label '2'; 0 or 1 is"),
        ("train.jsonl", "{}\n{}\n", "'00000' of .*train.jsonl:1 has no field 'goal'; it has label"),
        ("train.jsonl", "[\n{}\n", "train.jsonl:1 is not JSON"),
    ],
)
def test_a_broken_record_is_named(folder, file, content, words):
    (folder / file).write_text(content)
    with pytest.raises(ValueError, match=words):
        piqa.load(str(folder))


def test_a_missing_data_set_is_named(folder):
    with pytest.raises(ValueError, match="datasets cannot give its split 'train'"):
        piqa.load(str(folder / "nowhere"))
