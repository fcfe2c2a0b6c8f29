import json

import numpy as np
import pytest
from PIL import Image

from mmcot_jax.errors import is_input_error
from mmcot_jax.tasks import puzzlevqa
from mmcot_jax.tasks._records import Gate
from mmcot_jax.tasks.puzzlevqa import KINDS, splits

TRIANGLE, MORPH, CYCLE = (KINDS[name] for name in ("triangle", "shape_morph", "size_cycle"))

RECORD = {
    "image": "images/triangle/triangle_0000.png",
    "question": "What is the missing number of the part denoted with a question mark?",
    "options": [62, 46, 39, 20],
    "answer": 20,
    "caption": "There are three groups of numbers with a triangle arrangement in the image. The "
    "first group is [4, 5, '?'], the second group is [3, 1, 3], and the third group is [9, 7, 63].",
    "explanation": "We observe ...",
    "deduction": "Based on ...",
}


def release(folder, record, picture=True):
    (folder / "triangle.json").write_text(json.dumps(record) + "\n")
    path = folder / record["image"]
    path.parent.mkdir(parents=True)
    if picture:
        Image.fromarray(np.full((512, 512, 3), 7, np.uint8)).save(path)
    return folder


def test_a_released_record_is_a_puzzle_with_a_picture(tmp_path):
    (puzzle,) = splits.released(TRIANGLE, release(tmp_path, RECORD))
    assert puzzle.id == "triangle/test/00000"
    assert puzzle.word.options == ("62", "46", "39", "20")
    assert puzzle.word.answer == "20"
    assert puzzle.picture == tmp_path / "images/triangle/triangle_0000.png"


def test_a_released_record_without_its_picture_is_named(tmp_path):
    release(tmp_path, RECORD, picture=False)
    with pytest.raises(ValueError, match=r"'00000' of .*le.json:1 has no picture: .*_0000.png"):
        splits.released(TRIANGLE, tmp_path)


def test_a_released_answer_that_is_no_option_is_named(tmp_path):
    release(tmp_path, RECORD | {"answer": 21})
    with pytest.raises(ValueError, match="json:1 has the answer '21', which is not among its opt"):
        splits.released(TRIANGLE, tmp_path)


def test_a_released_record_has_an_option_for_each_letter_at_most(tmp_path):
    release(tmp_path, RECORD | {"options": [1, 2, 3, 4, 20]})
    with pytest.raises(ValueError, match="json:1 has 5 options; 2 to 4 are expected"):
        splits.released(TRIANGLE, tmp_path)


def test_lines_of_released_records_end_at_line_feeds_and_broken_ones_are_skipped(tmp_path, caplog):
    release(tmp_path, RECORD)
    lines = [json.dumps(RECORD | {"caption": "a\u2028b"}, ensure_ascii=False)] * 20
    (tmp_path / "triangle.json").write_text("\n".join([*lines, lines[0][:-9]]), "utf-8")
    with pytest.raises(ValueError, match=r"record '00020' of .*triangle.json:21 is not JSON"):
        splits.released(TRIANGLE, tmp_path)
    puzzles = splits.released(TRIANGLE, tmp_path, Gate("skip"), decode=True)
    assert len(puzzles) == 20 and puzzles[0].word.caption == "a\u2028b"
    assert "1 of 21 records are bad" in caplog.text


@pytest.mark.parametrize("processes", [0, 1])
def test_a_damaged_picture_of_a_released_record_is_an_error_of_the_input(tmp_path, processes):
    path = release(tmp_path, RECORD) / RECORD["image"]
    path.write_bytes(path.read_bytes()[:200])
    options = {"count": None, "split": "test", "released": tmp_path, "processes": processes}
    complaint = r"'triangle/test/00000' of .*json:1 has no readable picture: .*0000.png"
    with pytest.raises(ValueError, match=complaint) as fault:
        puzzlevqa.load(["triangle"], size=32, **options)
    assert is_input_error(fault.value)
    with pytest.raises(ValueError, match="no record of triangle is left, 1 of them are bad"):
        puzzlevqa.load(["triangle"], size=32, on_bad_record="skip", **options)


def test_a_kind_that_was_not_released_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no released records of kind 'triangle': .*triangle.jso"):
        splits.released(TRIANGLE, tmp_path)


def test_no_scene_is_drawn_twice():
    puzzles = splits.sample_puzzles(MORPH, "train", 400, seed="s")
    assert len({puzzle.scene for puzzle in puzzles}) == 400
    assert puzzles[7].id == "shape_morph/train/00007"


def test_fewer_are_the_first_of_more():
    assert (
        splits.sample_puzzles(TRIANGLE, "train", 20, seed="s")
        == (splits.sample_puzzles(TRIANGLE, "train", 50, seed="s")[:20])
    )


def test_a_kind_with_too_few_puzzles_says_how_many_it_has():
    still = CYCLE._replace(sample=lambda rng: CYCLE.sample(rng)._replace(extra=(0,)))
    # 9 places of the question mark, 6 orders of the options.
    with pytest.raises(ValueError, match="has 54 distinct puzzles, fewer than the requested 55"):
        splits.sample_puzzles(still, "train", 55, seed="s")
    assert len(splits.sample_puzzles(still, "train", 54, seed="s")) == 54


def test_training_holds_no_question_of_the_test_set():
    test = {splits.key(p.word) for p in splits.sampled_test_set(MORPH, 20)}
    train = splits.train_set(MORPH, 300, seed=0, without=splits.test_set(MORPH, 20, None))
    assert len(train) == 300
    assert not test & {splits.key(p.word) for p in train}


def test_training_holds_no_scene_of_the_test_set_where_captions_repeat():
    test = {p.scene for p in splits.sampled_test_set(CYCLE, 1000)}
    train = splits.train_set(CYCLE, 1000, seed=0, without=splits.test_set(CYCLE, 1000, None))
    assert not test & {p.scene for p in train}


def test_training_holds_no_released_question(tmp_path):
    test = splits.test_set(TRIANGLE, 1, None)
    scene = splits.train_set(TRIANGLE, 1, seed=0, without=test)[0].scene
    record = TRIANGLE.word(scene)._asdict() | {"image": RECORD["image"]}
    folder = release(tmp_path, record | {"options": record["options"][::-1]})
    train = splits.train_set(TRIANGLE, 100, seed=0, without=splits.test_set(TRIANGLE, 1, folder))
    assert scene not in {p.scene for p in train}


def test_validation_is_apart_from_the_test_set_and_from_training():
    test = splits.test_set(MORPH, 20, None)
    kept = splits.validation_set(MORPH, 20, test)
    assert kept == splits.validation_set(MORPH, 30, test)[:20]
    train = splits.train_set(MORPH, 300, seed=0, without=[*test, *kept])
    parts = (test, kept, train)
    of_test, of_kept, of_train = ({splits.key(p.word) for p in part} for part in parts)
    assert not of_test & of_kept and not of_kept & of_train


def test_what_the_test_set_leaves_is_counted():
    still = CYCLE._replace(sample=lambda rng: CYCLE.sample(rng)._replace(extra=(0,)))
    with pytest.raises(ValueError, match="has 44 distinct puzzles without the questions"):
        splits.train_set(still, 50, seed=0, without=splits.test_set(still, 10, None))
