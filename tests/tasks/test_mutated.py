"""Records of all tasks with one thing changed: each is used, or is one line with record and file.

With "raise" the line comes before or when the record is used; with "skip" the same records are left
out, the rest is used, and the counts add up.
"""

import copy
import io
import json
import logging
import os
import random
import re
import resource
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from mmcot_jax.errors import is_input_error
from mmcot_jax.tasks import _images as images
from mmcot_jax.tasks import aokvqa, drivingvqa, nlvr, piqa, resq, viscot
from mmcot_jax.tasks import puzzlevqa as puzzles

SIZE = (64, 64)
STUDY = {
    "img_filename": "PICTURE",
    "img_size": list(SIZE),
    "has_multiple_questions": False,
    "questions": ["May I park here?"],
    "possible_answers": {"A": "Yes", "B": "No", "C": None},
    "true_answers": ["B"],
    "relevant_entities": [{"car": [1, 2, 30, 40]}, {"sign": [0, 0, 9.5, 8]}],
    "interleaved_explanation": "The car [1, 2, 30, 40] is at the sign [0, 0, 9.5, 8].",
}
ITEM = {"x_loc": 40, "y_loc": 80, "size": 20, "type": "square", "color": "Yellow"}
QUESTION = {"question": "Is it?", "answer": ["Yes"], "candidate_answers": ["Yes", "No"]}


class Task(NamedTuple):
    """A task, a good record of it, and where its files are."""

    load: Callable[..., Any]
    record: dict[str, Any]
    file: str
    pictures: str = ""
    """The folder of its pictures; "" if it has none."""
    size: tuple[int, int] = SIZE


def load_puzzles(folder: str, **options):
    return puzzles.load(["venn"], count=None, split="test", size=32, released=folder, **options)


TASKS = {
    "viscot": Task(
        viscot.load,
        {"question": "Is it?", "answer": "No", "possible_answers": ["No", "Nope"],
         "image": "PICTURE", "width": 64, "height": 64, "bboxs": [[14.5, 28, 28, 56]],
         "dataset": "vsr"},
        "scaleup/data/a.jsonl", "scaleup/images/cot/vsr/images",
    ),
    "aokvqa": Task(aokvqa.load, STUDY, "aokvqa/train.json", "aokvqa/images/train2017"),
    "official": Task(
        aokvqa.load,
        {"question_id": "q", "question": "What?", "choices": ["a", "b"], "correct_choice_idx": 1,
         "rationales": ["r"], "image_id": "PICTURE"},
        "aokvqa/train.json", "aokvqa/images/train2017",
    ),
    "drivingvqa": Task(drivingvqa.load, STUDY, "DrivingVQA/train.json", "."),
    "nlvr": Task(
        nlvr.load,
        {"sentence": "There is a tower.", "label": "true", "identifier": "7-0", "directory": "2",
         "structured_rep": [[ITEM], [], [ITEM, ITEM]], "image": "PICTURE"},
        "dev.jsonl", ".", nlvr.SIZE,
    ),
    "stories": Task(
        resq.load,
        {"story": ["a cat .", "a dog ."], "questions": [
            QUESTION | {"num_1st_context_sentences": 1},
            QUESTION | {"num_1st_context_sentences": 2}]},
        "train_resq.json",
    ),
    "scenes": Task(resq.load, QUESTION | {"scene": "a cat ."}, "train_resq.json"),
    "piqa": Task(piqa.load, {"goal": "dry", "sol1": "sun", "sol2": "rain"}, "train.jsonl"),
    "puzzles": Task(
        load_puzzles,
        {"question": "Which?", "options": [1, 2], "answer": 2, "caption": "c", "explanation": "e",
         "deduction": "d", "image": "PICTURE"},
        "venn.json", ".",
    ),
}  # fmt: skip


# ---- what is changed -----------------------------------------------------------------------------

VALUES = (
    None, "", " ", "300", "yes", "a\u2028b", "a\0b", "\ud800", "x" * 20_000, "../x.png", "/x.png",
    0, 1, 3, -1, 2.5, 1e308, 10**400, float("nan"), float("inf"), True, False,
    [], [[]], [None], [3], ["a", 3], {}, {"A": 1}, {"A": None}, [[1, 2, 3]], [[1, 2, 0, 0]],
)  # fmt: skip


def places(value, path=()):
    """Yields the path of every value in a record."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else items:
        yield from places(item, (*path, key))


def change_field(record, rng):
    path = rng.choice(list(places(record)))
    parent = record
    for key in path[:-1]:
        parent = parent[key]
    old = parent[path[-1]]
    how = rng.randrange(6)
    if how == 0:
        del parent[path[-1]]
    elif how == 1:
        parent[path[-1]] = [old]
    elif how == 2 and isinstance(old, list) and old:
        parent[path[-1]] = old[0]
    elif how == 2:
        parent[path[-1]] = str(old)
    else:
        parent[path[-1]] = copy.deepcopy(rng.choice(VALUES))


def change_line(line: bytes, rng) -> bytes:
    how = rng.randrange(5)
    at = rng.randrange(1, len(line))
    return [
        line[:at],
        line[:at] + b"\xff" + line[at:],
        line[:at] + b'"' + line[at + 1 :],
        b"[" * 5000,
        json.dumps([1, line.decode()]).encode(),
    ][how]


def png_of(width, height):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(b"\0"), b"IEND"]
    sums = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(sums)


def change_picture(path, size, rng):
    format = rng.choice(images.FORMATS)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8))
    out = io.BytesIO()
    image.save(out, format)
    data = bytearray(out.getvalue())
    how = rng.randrange(9)
    if how < 3:
        data = data[: rng.randrange(len(data))]
    elif how < 5:
        for _ in range(30):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif how == 5:
        data = bytearray(
            rng.choice([b"", b"<html>", png_of(13_000, 13_000), png_of(14_000, 14_000)])
        )
    elif how == 6:
        image.resize((30, 6001)).save(path, "PNG")
        return
    path.unlink()
    if how == 7:
        rng.choice([os.mkfifo, os.mkdir])(path)
    elif how < 7:
        path.write_bytes(data)


def make(task: Task, folder, rng):
    """Returns a changed record with its number, written later; its picture is changed here."""
    record = copy.deepcopy(task.record)
    changed = rng.randrange(10)
    line = None
    if not task.pictures or changed < 6:
        change_field(record, rng)
    elif changed < 9:
        change_picture(folder, task.size, rng)
    if changed == 9 and is_lines(task):
        line = change_line(json.dumps(record).encode(), rng)
    return record, line


def name_picture(record, number):
    """Gives the record its picture's name where that was not changed."""
    text = json.dumps(record)
    name = str(number) if "image_id" in record else f'"{number:012}.jpg"'
    return text.replace('"PICTURE"', name).encode()


def is_lines(task: Task) -> bool:
    return task.file.endswith(".jsonl") or task.load is load_puzzles


def write(task: Task, folder, lines):
    """Writes records, their lines given, as the task's file."""
    file = folder / task.file
    file.parent.mkdir(parents=True, exist_ok=True)
    if is_lines(task):
        file.write_bytes(b"\n".join(lines))
    else:
        file.write_bytes(b"[" + b",\n".join(lines) + b"]")
    if task.load is piqa.load:
        (folder / "train-labels.lst").write_text("1\n" * len(lines))


def attempt(task: Task, folder, **options):
    """Returns the examples, each of them used, or the error's line."""
    try:
        examples = task.load(str(folder), **options)
        return [examples[n].id for n in range(len(examples))]
    except ValueError as error:
        assert is_input_error(error), error
        assert len(str(error).splitlines()) == 1, error
        return str(error)


def check_task(task: Task, folder, count, seed, caplog):
    rng = random.Random(seed)
    pictures = folder / task.pictures
    pictures.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count + 1):
        path = pictures / f"{number:012}.jpg"
        if task.pictures:
            Image.new("RGB", task.size, "red").save(path, "PNG")
        record, line = make(task, path, rng) if number else (task.record, None)
        lines.append(line or name_picture(record, number))
    good = len(write_and_attempt(task, folder, lines[:1]))
    kept = bad = 0
    for line in lines[1:]:
        found = write_and_attempt(task, folder, [lines[0], line])
        if isinstance(found, str):
            bad += 1
            place = re.escape(f"{folder / task.file}")
            assert re.search(rf"record '[^']+' of {place}(:\d+)? ", found), found
        else:
            kept += len(found) - good
    write(task, folder, lines)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = attempt(task, folder, on_bad_record="skip", max_bad=1.0)
    assert len(found) == good + kept, found
    if bad:
        assert caplog.messages[0].startswith(f"{bad} of "), caplog.messages[0][:500]
        assert sum(map(int, re.findall(r"^  (?:\w+: )?(\d+) record", caplog.text, re.M))) == bad
    return bad


def write_and_attempt(task, folder, lines):
    write(task, folder, lines)
    return attempt(task, folder)


def check_all(tmp_path, caplog, count, seed):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bad = 0
    for name, task in TASKS.items():
        bad += check_task(task, tmp_path / name, count, f"{seed}/{name}", caplog)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 400_000, f"{grown} kB more"
    assert bad > 0.4 * count * len(TASKS)


@pytest.mark.filterwarnings("ignore")
def test_200_changed_records_are_used_or_one_line(tmp_path, caplog):
    check_all(tmp_path, caplog, count=23, seed=0)


@pytest.mark.parametrize("name", ["viscot", "aokvqa", "drivingvqa", "nlvr", "puzzles"])
def test_every_name_of_a_picture_is_one_line(tmp_path, name):
    task = TASKS[name]
    given = [x for x in VALUES if isinstance(x, str)]
    for value in [*given, "a/" * 5000, "a\nb", "~", "x" * 300]:
        line = json.dumps(task.record).replace('"PICTURE"', json.dumps(value))
        found = write_and_attempt(task, tmp_path, [line.encode()])
        assert isinstance(found, str) and found.startswith("record "), found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_1000_changed_records_are_used_or_one_line(tmp_path, caplog):
    check_all(tmp_path, caplog, count=125, seed=1)
