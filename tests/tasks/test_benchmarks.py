"""Every field of every benchmark's record with another value: it is used, or is one line."""

import base64
import copy
import csv
import io
import json

import pytest
from PIL import Image

from mmcot_jax import evals, log
from mmcot_jax.errors import is_input_error
from mmcot_jax.evals import harness
from mmcot_jax.example import Answered, Reply
from mmcot_jax.tasks import _benchmarks as benchmarks
from mmcot_jax.tasks import gqa, pope, scienceqa, table, textvqa, vizwiz, vlmevalkit, vqav2

VALUES = (None, " ", "\ud800", "../x", 3, float("nan"), [None], {"answer": None})
PICTURE = io.BytesIO()
Image.new("RGB", (64, 48)).save(PICTURE, "PNG")
WRITTEN = set()
TASKS = {
    "vqav2": (vqav2.load, "v2_OpenEnded_mscoco_val2014_questions.json",
              "val2014/COCO_val2014_000000000042.jpg", {
        "question": "Is it?", "question_id": 5, "image_id": 42, "answers": [{"answer": "a"}],
        "answer_type": "other", "question_type": "is"}),
    "vlmevalkit": (lambda folder: vlmevalkit.load(f"{folder}/x.tsv"), "x.tsv", "p.jpg", {
        "index": "1", "image": base64.b64encode(PICTURE.getvalue()).decode(), "question": "Is it?",
        "A": "a", "B": "b", "answer": "A", "hint": "h", "category": "c"}),
    "table": (lambda folder: table.load(f"{folder}/x.jsonl"), "x.jsonl", "p.jpg", {
        "question": "Is it?", "answer": "no", "image": "p.jpg", "chain": "c", "split": "train",
        "kind": "k", "other": [1, {"a": "b"}]}),
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
    content = {"textvqa": {"data": [record]}, "vqav2": {"questions": [record]}}
    content |= {"pope": record, "table": record}
    text = json.dumps(content.get(name, {"0": record}))
    if name == "vlmevalkit":
        out = io.StringIO(newline="")
        csv.writer(out, delimiter="\t").writerows([record.keys(), record.values()])
        text = out.getvalue()
    (folder / file).write_text(text, encoding="utf-8", errors="surrogatepass")
    (folder / "v2_mscoco_val2014_annotations.json").write_text('{"annotations": []}')
    try:
        examples = list(load(str(folder)))
    except ValueError as error:
        assert is_input_error(error), error
        return str(error)
    judge_and_write(name, folder, examples)
    return len(examples)


def judge_and_write(name, folder, examples):
    """What becomes of the questions: prompts in UTF-8, results, completions, other harnesses."""
    answered = [
        Answered(e.without_pixels, Reply((f"<answer>{e.answer}</answer>",)), e.prompt[-1], 1, True)
        for e in examples
    ]
    assert all(text.encode() for e in examples for text in (e.id, e.prompt[-1], *e.rationale))
    judge = {"vqav2": "vqa", "textvqa": "vqa", "vizwiz": "vqa", "gqa": "exact_match",
             "vlmevalkit": "exact_match", "table": "grounded"}.get(name, name)  # fmt: skip
    results, rows = evals.get(judge).summarize(answered)
    json.dumps(results, allow_nan=False).encode()
    if "\ud800" not in str(rows) and examples[0].id in WRITTEN:
        return  # each file is synced to the disk
    WRITTEN.add(examples[0].id)
    log.write_completions(folder / "eval.jsonl", rows, [()] * len(rows))
    given = {"run": "r", "name": "n", "answered": answered, "rows": rows}
    harness.write(harness.FORMATS, folder / "samples", **given)


@pytest.mark.parametrize("name", TASKS)
def test_a_changed_record_is_used_or_one_line(tmp_path, name):
    *_, picture, record = TASKS[name]
    (tmp_path / picture).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48)).save(tmp_path / picture)
    assert attempt(name, tmp_path, record) == 1
    lines = []
    for path in places(record):
        for value in VALUES:
            found = attempt(name, tmp_path, changed(record, path, value))
            if isinstance(found, str):
                lines.append(found)
                assert len(found.splitlines()) == 1, found
                starts = ("record ", "no record is left", f"{tmp_path}/x.")
                assert found.startswith(starts), (path, value, found)
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
