"""What every kind promises, shown on drawn puzzles and on the released records."""

import json
import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from mmcot_jax.tasks.puzzlevqa import KINDS

kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def drawn(kind, count):
    rng = random.Random(0)
    return [kind.sample(rng) for _ in range(count)]


@kinds
def test_a_scene_is_read_back_from_its_own_words(kind):
    for scene in drawn(kind, 50):
        found = kind.parse(kind.word(scene)._asdict())
        assert kind.word(found) == kind.word(scene)
        # Where the caption does not fix the picture, the scene holds what no word tells.
        assert kind.fill is None or found == scene
        hash(scene)


@kinds
def test_a_seed_gives_the_same_puzzles_and_pictures(kind):
    assert drawn(kind, 5) == drawn(kind, 5)
    assert len(set(drawn(kind, 5))) == 5
    first, again = (kind.draw(drawn(kind, 1)[0], 64) for _ in range(2))
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    assert (first == again).all()


@kinds
def test_the_answer_is_one_of_the_options_and_at_every_place(kind):
    places = Counter()
    for scene in drawn(kind, 200):
        wording = kind.word(scene)
        assert len(set(wording.options)) == len(wording.options)
        places[wording.options.index(wording.answer)] += 1
    count = len(wording.options)
    assert set(places) == set(range(count))
    assert min(places.values()) > 200 / count / 2


@kinds
def test_filling_puts_the_option_into_caption_and_picture(kind):
    if kind.fill is None:
        pytest.skip("its caption does not fix the picture")
    scene = drawn(kind, 1)[0]
    pictures = {kind.draw(scene, 64).tobytes()}
    for option in kind.word(scene).options:
        filled = kind.fill(scene, option)
        assert "?" not in kind.word(filled).caption
        assert option in kind.word(filled).caption
        pictures.add(kind.draw(filled, 64).tobytes())
    assert len(pictures) == 1 + len(kind.word(scene).options)


@kinds
def test_filling_refuses_what_is_no_option(kind):
    if kind.fill is None:
        pytest.skip("its caption does not fix the picture")
    with pytest.raises(ValueError, match="'pink'"):
        kind.fill(drawn(kind, 1)[0], "pink")


@kinds
def test_reasoning_comes_with_filling(kind):
    assert (kind.reasoning is None) == (kind.fill is None)
    if kind.reasoning is None:
        return
    reasoning = kind.reasoning(drawn(kind, 1)[0])
    assert "does not fit" in reasoning.wrong
    assert "matches" in reasoning.right
    assert reasoning.pattern.startswith("The pattern that ")
    assert not reasoning.pattern.endswith(".")
    if kind.original is not None:
        assert kind.original(drawn(kind, 1)[0]) != reasoning


@kinds
def test_a_record_of_another_kind_is_refused(kind):
    record = kind.word(drawn(kind, 1)[0])._replace(caption="There is a cat.")
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
    if kind.fill is not None:
        assert np.quantile(differences, 0.95) < 2
