"""Described scenes: questions, drawings, splits."""

import collections
import re

import numpy as np
import pytest

from mmcot_jax.tasks import scenes


def test_a_scene_is_described_questioned_and_drawn():
    example = scenes.load(count=1, size=32)[0]
    prompt = f"USER: {example.extra['scene']} {example.extra['question']}\nASSISTANT:"
    assert example.prompt == (prompt,)
    assert example.extra["candidate_answers"] == ("Yes", "No")
    think, picture, said = example.rationale
    assert think == "<think>" and picture is example.extra["picture"]
    assert picture.shape == (32, 32, 3) and picture.dtype == np.uint8
    places = dict(re.findall(r"A (\w+ \w+) is at the ([\w ]+)\.", example.extra["scene"]))
    seen, question, found, answer = re.fullmatch(
        r" See: (.+)\. (Is the .+\?) It is ([\w ]+)\.</think> (.+)", said
    ).groups()
    assert question == example.extra["question"]
    named = re.search(r"the (\w+ \w+) (\w+(?: of)?) the (\w+ \w+)\?", question)
    one, target, other = named.groups()
    assert len({name.split()[0] for name in places}) == len(places)  # a colour says which
    assert seen == ", ".join(f"{name.split()[0]} {places[name]}" for name in (one, other))
    assert (found == target) == (example.answer == "Yes")
    assert answer == f"<answer>{example.answer}</answer>"


def test_the_textual_chain_is_the_other_without_the_picture():
    drawn, written = (scenes.load(count=3, chain=c) for c in ("multimodal", "textual"))
    for one, other in zip(drawn, written, strict=True):
        assert other.rationale == (f"<think>{one.rationale[2][1:]}",)
        assert (other.prompt, other.answer) == (one.prompt, one.answer)
    assert scenes.load(count=1, chain="none")[0].rationale == ()


def test_a_share_of_the_chains_guesses():
    reasoned, mixed = (scenes.load(count=200, size=24, guesses=g) for g in (0.0, 0.5))
    guesses = [e for e in mixed if len(e.rationale) == 1]
    assert 70 < len(guesses) < 130
    right = sum(e.rationale == (f"<answer>{e.answer}</answer>",) for e in guesses)
    assert 0.3 < right / len(guesses) < 0.7
    rest = [(a, b) for a, b in zip(reasoned, mixed, strict=True) if len(b.rationale) > 1]
    assert all(a.rationale[2] == b.rationale[2] for a, b in rest)


def test_no_scene_of_one_split_is_in_another():
    splits = {s: scenes.load(count=80, split=s) for s in ("train", "validation", "test")}
    scene = {name: {e.extra["scene"] for e in of} for name, of in splits.items()}
    assert not scene["train"] & scene["test"] and not scene["validation"] & scene["test"]
    assert not scene["train"] & scene["validation"]
    repeated = [e.prompt for e in scenes.load(count=80, split="test", seed=7)]
    assert [e.prompt for e in splits["test"]] == repeated
    assert splits["train"][0].prompt != scenes.load(count=80, seed=7)[0].prompt


def test_yes_is_right_as_often_as_no():
    answers = collections.Counter(e.answer for e in scenes.load(count=400, size=24))
    assert 160 < answers["Yes"] < 240


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 1, "chain": "drawn"}, "chain is 'drawn'; choose from multimodal, textual"),
        ({"count": 1, "size": 8}, "size is 8 pixels, too small for shapes; give at least 24"),
        ({"count": 1, "split": "dev"}, "split is 'dev'"),
        ({"count": 0}, "count is 0; give a whole number, 1 or more"),
        ({"count": True}, "count is True; give a whole number, 1 or more"),
        ({"count": 1, "guesses": 2.0}, "guesses 2.0 is no share of the chains"),
    ],
)
def test_a_wrong_option_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        scenes.load(**options)
