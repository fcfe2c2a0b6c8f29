"""The shapes task: examples written out, disjoint splits, refused options."""

import numpy as np
import pytest

from mmcot_jax.boxes import Box, Sight, Space
from mmcot_jax.tasks import shapes

SEVERAL = list(shapes.KINDS)


def test_an_example_written_out():
    (example,) = shapes.load(["place"], count=1, size=64)
    picture, words = example.prompt
    assert picture.shape == (64, 64, 3)
    assert words == (
        "Question: Where is the yellow square, seen from the red triangle?\n"
        "Options: (A) above (B) left (C) right (D) below.\n"
    )
    assert example.answer == "D"
    assert example.rationale == (
        "<think>The yellow square is at [45,48,61,64 yellow square] and the red triangle at "
        "[43,21,61,40 red triangle]. The yellow square is below the red triangle.</think> "
        "<answer>D</answer>",
    )
    space = Space("original", 64, 64)
    assert example.extra["boxes"][0] == Box("yellow square", 45, 48, 61, 64, space)


def test_the_open_form_is_answered_by_a_word():
    (closed,) = shapes.load(["color"], count=1, size=64)
    (example,) = shapes.load(["color"], count=1, size=64, form="open")
    assert example.prompt[1] == closed.prompt[1].split("Options")[0]
    assert example.answer == closed.extra["answer_text"] == example.extra["possible_answers"][0]
    assert example.rationale[0].endswith(f"<answer>{example.answer}</answer>")
    assert example.extra["options"] == ()


def test_boxes_are_in_the_pixels_the_model_sees():
    (own,) = shapes.load(["place"], count=1, size=64)
    (seen,) = shapes.load(["place"], count=1, size=64, sight=Sight(cell=16, max_pixels=32 * 32))
    assert own.extra["boxes"][0].corners == (45, 48, 61, 64)
    assert seen.extra["boxes"][0].corners == (22, 24, 30, 32)
    assert seen.extra["space"] == Space("resized", 32, 32)
    assert "[22,24,30,32 yellow square]" in seen.extra["solution"] == seen.rationale[0]


def test_without_boxes_the_chain_names_the_shapes():
    (example,) = shapes.load(["color"], count=1, size=64, boxes=False)
    assert example.rationale[0].startswith(f"<think>There is a {example.extra['boxes'][0].label}.")


def test_a_chain_holds_the_box_of_every_relevant_thing_and_ends_in_the_answer():
    for example in shapes.load(SEVERAL, count=30, size=112):
        (chain,) = example.rationale
        assert all(box.notation in chain for box in example.extra["boxes"])
        assert chain.endswith(f" <answer>{example.answer}</answer>")
        at = "ABCD".index(example.answer)
        assert example.extra["options"][at] == example.extra["answer_text"]


def test_a_share_of_the_chains_guesses():
    examples = shapes.load(["count"], count=100, size=24, guesses=0.5)
    guesses = [e for e in examples if "<think>" not in e.rationale[0]]
    assert 30 < len(guesses) < 70
    assert {e.rationale[0] for e in guesses} == {f"<answer>{x}</answer>" for x in "ABCD"}
    right = sum(e.rationale == (f"<answer>{e.answer}</answer>",) for e in guesses)
    assert right < len(guesses) / 2
    reasoned = shapes.load(["count"], count=100, size=24)
    assert [e.extra["solution"] for e in examples] == [e.extra["solution"] for e in reasoned]


def test_splits_share_no_scene_and_no_question_occurs_twice():
    def scenes(split):
        return {e.extra["scene"] for e in shapes.load(SEVERAL, count=20, size=24, split=split)}

    train, validation, test = map(scenes, ("train", "validation", "test"))
    assert not train & validation and not train & test and not validation & test
    target = [
        (e.prompt[0].tobytes(), e.prompt[1].splitlines()[0])
        for e in shapes.load(["color"], count=100, size=48)
    ]
    assert len(set(target)) == 100


def test_the_seed_changes_training_only_and_a_larger_count_keeps_the_first_questions():
    def words(**options):
        return [e.prompt[1] for e in shapes.load(["count"], count=5, size=24, **options)]

    assert words(seed=1) == words(seed=1) != words(seed=2)
    assert words(seed=1, split="test") == words(seed=2, split="test")
    more = shapes.load(["count"], count=9, size=24)[:5]
    assert [e.prompt[1] for e in more] == words()


def test_a_described_scene_has_a_yes_no_question():
    (question,) = shapes.described(1, split="test")
    assert shapes.describe(question.scene) == (
        "A blue square is at the top left. A green triangle is at the center. "
        "A yellow triangle is at the bottom left."
    )
    assert question.text == "Is the green triangle below the blue square?"
    assert (question.options, question.answer) == (("Yes", "No"), "Yes")
    assert shapes.draw(question.scene, 64).dtype == np.uint8


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"kinds": ["colour"]}, "a kind is 'colour', did you mean 'color'"),
        ({"split": "dev"}, "split is 'dev'; choose from train, validation, test"),
        ({"form": "option"}, "form is 'option', did you mean 'options'"),
        ({"count": 0}, "count is 0; give a whole number, 1 or more"),
        ({"count": True}, "count is True; give a whole number, 1 or more"),
        ({"guesses": -0.1}, "guesses -0.1 is no share of the chains"),
        ({"size": 20}, "size is 20 pixels, too small for shapes; give at least 24"),
    ],
)
def test_what_does_not_fit_is_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        shapes.stream(**{"kinds": ["color"], "count": 1, **options})


def test_more_questions_than_there_are_is_refused(monkeypatch):
    monkeypatch.setitem(
        shapes.KINDS, "color", lambda rng, one=shapes.KINDS["color"]: one(type(rng)(0))
    )
    with pytest.raises(ValueError, match="'color' has 1 distinct questions for train, fewer than"):
        shapes.load(["color"], count=2)
    with pytest.raises(ValueError, match="split is 'dev'"):
        shapes.described(1, split="dev")
