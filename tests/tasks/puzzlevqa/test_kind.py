"""Laws of all kinds, on sampled puzzles and on the released records."""

import json
import pickle
import random
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from mmcot_jax.answers.caption import WORD
from mmcot_jax.tasks.puzzlevqa import KINDS
from mmcot_jax.tasks.puzzlevqa.kind import Scene, parse_lists, parse_scene

kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
multimodal = pytest.mark.parametrize(
    "kind", [k for k in KINDS.values() if k.multimodal], ids=lambda kind: kind.name
)


def sampled(kind, count):
    rng = random.Random(0)
    return [kind.sample(rng) for _ in range(count)]


@kinds
def test_a_scene_is_read_back_from_its_own_words(kind):
    for scene in sampled(kind, 50):
        found = kind.parse(kind.word(scene)._asdict())
        assert kind.word(found) == kind.word(scene)
        # A scene without a multimodal chain has a parameter that is in none of its texts.
        assert found == scene or not kind.multimodal
        hash(scene)


@kinds
def test_the_facts_are_the_words_of_the_caption_that_its_template_leaves_open(kind):
    template = WORD.findall(re.sub(r"{\w+}", "", kind.templates.caption))
    for scene in sampled(kind, 5):
        caption = kind.word(scene).caption
        assert sorted([*template, *kind.facts(scene)]) == sorted(WORD.findall(caption))


@kinds
def test_a_seed_gives_the_same_puzzles_and_pictures(kind):
    assert sampled(kind, 5) == sampled(kind, 5)
    assert len(set(sampled(kind, 5))) == 5
    first, repeated = (kind.draw(sampled(kind, 1)[0], 64) for _ in range(2))
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    assert (first == repeated).all()


@kinds
def test_the_answer_is_one_of_the_options_and_at_every_place(kind):
    places = Counter()
    for scene in sampled(kind, 200):
        wording = kind.word(scene)
        assert len(set(wording.options)) == len(wording.options)
        places[wording.options.index(wording.answer)] += 1
    count = len(wording.options)
    assert set(places) == set(range(count))
    assert min(places.values()) > 200 / count / 2


@multimodal
def test_filling_puts_the_option_into_caption_and_picture(kind):
    scene = sampled(kind, 1)[0]
    pictures = {kind.draw(scene, 64).tobytes()}
    for option in kind.word(scene).options:
        filled = scene.fill(option)
        assert "?" not in kind.word(filled).caption
        assert option in kind.word(filled).caption
        pictures.add(kind.draw(filled, 64).tobytes())
    assert len(pictures) == 1 + len(kind.word(scene).options)


@kinds
def test_filling_refuses_what_is_no_option(kind):
    with pytest.raises(ValueError, match="'pink' is no option of this puzzle; give one of"):
        sampled(kind, 1)[0].fill("pink")


def test_nineteen_kinds_have_a_multimodal_chain():
    assert [name for name in KINDS if not KINDS[name].multimodal] == ["size_cycle"]


@multimodal
def test_reasoning_says_wrong_right_and_the_pattern(kind):
    reasoning = kind.reasoning(sampled(kind, 1)[0])
    assert "does not fit" in reasoning.wrong
    assert "matches" in reasoning.right
    assert reasoning.pattern.startswith("The pattern that ")
    assert not reasoning.pattern.endswith(".")
    original = kind.reasoning(sampled(kind, 1)[0], "original")
    assert (original == reasoning) == (kind.original is None)


@kinds
def test_a_kind_travels_to_another_process(kind):
    copy, (scene,) = pickle.loads(pickle.dumps(kind)), sampled(kind, 1)
    assert copy.word(scene) == kind.word(scene)
    assert copy.parse(kind.word(scene)._asdict()).values == scene.values


def test_numbers_stay_numbers_when_filled():
    scene = Scene(values=(4, 5, 20), missing=2, options=("20", "7"))
    assert scene.labels == [4, 5, "?"]
    assert scene.fill("7").labels == [4, 5, 7]
    assert scene.fill("7").answer == scene.answer == "20"


def test_a_scene_is_parsed_from_its_labels_and_the_answer():
    record = {"options": [20, 7], "answer": 20}
    assert parse_scene(["?", 5, 4], record) == Scene((20, 5, 4), 0, ("20", "7"))
    record = {"options": ["red", "blue"], "answer": "red"}
    caption = {"lengths": ["short", "long"], "colors": ["blue", "?"], "count": "2"}
    assert parse_lists(caption, record, attributes="lengths") == Scene(
        ("blue", "red"), 1, ("red", "blue"), attributes=("short", "long")
    )


@kinds
def test_a_record_of_another_kind_is_refused(kind):
    record = kind.word(sampled(kind, 1)[0])._replace(caption="There is a cat.")
    with pytest.raises(ValueError, match="There is a cat"):
        kind.parse(record._asdict())


@pytest.mark.reference
@kinds
def test_released_words_and_pictures_are_rebuilt(kind, reference):
    folder = reference / "data" / "puzzlevqa"
    differences = []
    for line in (folder / f"{kind.name}.json").read_text().splitlines():
        record = json.loads(line)
        scene = kind.parse(record)
        words = kind.word(scene)._asdict()
        assert words["options"] == tuple(map(str, record["options"]))
        assert words["answer"] == str(record["answer"])
        for field in ("question", "caption", "explanation", "deduction"):
            assert words[field] == record[field]
        with Image.open(folder / record["image"]) as image:
            released = np.asarray(image.convert("RGB"), np.float32)
        differences.append(np.abs(kind.draw(scene, 512) - released).mean())
    assert len(differences) == 20
    if kind.multimodal:
        assert np.quantile(differences, 0.95) < 2
