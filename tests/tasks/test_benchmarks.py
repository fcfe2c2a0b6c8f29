"""Every field of every benchmark's record with another value: it is used, or is one line."""

import copy
import json

import pytest
from PIL import Image

from mmcot_jax.errors import is_input_error
from mmcot_jax.tasks import _benchmarks as benchmarks
from mmcot_jax.tasks import gqa, pope, scienceqa, textvqa, vizwiz

VALUES = (None, " ", "\ud800", "../x", 3, float("nan"), [None], {"answer": None})
TASKS = {
    "gqa": (gqa.load, "testdev_balanced_questions.json", "images/p.jpg", {
        "id": "7", "question": "Is it?", "imageId": "p", "answer": "no",
        "types": {"structural": "verify", "semantic": "rel"}}),
    "pope": (lambda folder: pope.load(folder, sets=("random",)), "coco_pope_random.json",
             "val2014/p.jpg",
             {"question_id": 1, "image": "p.jpg", "text": "Is it?", "label": "yes"}),
    "scienceqa": (scienceqa.load, "problems.json", "images/test/0/p.jpg", {
        "question": "Is it?", "choices": ["a", "b"], "answer": 1, "hint": "", "image": "p.jpg",
        "subject": "natural science", "grade": "grade3", "split": "test"}),
    "textvqa": (textvqa.load, "TextVQA_0.5.1_val.json", "train_images/p.jpg", {
        "question": "Is it?", "question_id": 5, "image_id": "p", "answers": ["a", "b"],
        "set_name": "val"}),
    "vizwiz": (vizwiz.load, "val.json", "val/p.jpg", {
        "question": "Is it?", "image": "p.jpg", "answers": [{"answer": "a"}, {"answer": "b"}],
        "answer_type": "other", "answerable": 1}),
}  # fmt: skip


def places(value, path=()):
    """Yields the path of every value in a record."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else items:
        yield from places(item, (*path, key))


def changed(record, path, value):
    record = copy.deepcopy(record)
    parent = record
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return record


def attempt(name, folder, record):
    """Returns the number of examples, each of them used, or the error's line."""
    load, file, *_ = TASKS[name]
    content = {"textvqa": {"data": [record]}, "pope": record}.get(name, {"0": record})
    (folder / file).write_text(json.dumps(content))
    try:
        return len(list(load(str(folder))))
    except ValueError as error:
        assert is_input_error(error), error
        return str(error)


@pytest.mark.parametrize("name", TASKS)
def test_a_changed_record_is_used_or_one_line(tmp_path, name):
    *_, picture, record = TASKS[name]
    (tmp_path / picture).parent.mkdir(parents=True)
    Image.new("RGB", (64, 48)).save(tmp_path / picture)
    assert attempt(name, tmp_path, record) == 1
    lines = []
    for path in places(record):
        for value in VALUES:
            found = attempt(name, tmp_path, changed(record, path, value))
            if isinstance(found, str):
                lines.append(found)
                assert len(found.splitlines()) == 1, found
                assert found.startswith(("record ", "no record is left")), (path, value, found)
    assert len(lines) > len(VALUES)


def test_human_answers_are_ranked_and_blank_ones_are_none():
    assert benchmarks.ranked(("b", "a", " ", "a", "")) == ("a", "b")


def test_a_second_answer_of_llava_to_one_id_is_its_own_by_its_prompt(tmp_path):
    lines = [{"question_id": 1, "prompt": p, "text": p.upper()} for p in ("a", "b")]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, lines)))
    llava = benchmarks.read_llava(str(tmp_path / "x.jsonl"))
    assert llava.find("1", "a") == {"reference": "B", "strict": "A"}
    assert llava.find("1", "c") == {"reference": "B", "strict": "B"} and not llava.find("2", "a")
    (tmp_path / "x.jsonl").write_text('{"question_id": 1}')
    with pytest.raises(ValueError, match=r"record '00000' of .*x.jsonl:1 has no field 'text'"):
        benchmarks.read_llava(str(tmp_path / "x.jsonl"))
