"""Records of questions about pictures: sources, faults, pictures."""

import logging

import datasets
import numpy as np
import pytest
from PIL import Image

from mmcot_jax.boxes import Box, Space
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks._records import Record


def record(picture, **fields):
    return Record(id="set/7", picture=picture, size=None, questions=("Q?",), **fields)


RIGHT = {"options": {"A": "x", "B": "y"}, "letters": ("A",)}
SPACE = Space("original", 100, 50)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGBA", (60, 40), (255, 0, 0, 0)).save(path)
    return path


def test_a_transparent_picture_gets_a_white_background(photo):
    found = records.read_pixels(record(records.image_file(photo)))
    assert found.shape == (40, 60, 3) and found.dtype == np.uint8
    assert (found == 255).all()


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ("gone", "'set/7' has no picture: .*gone.png is not there; get it, or"),
        ("text", "'set/7' has no readable picture: cannot identify"),
        ("cut", "'set/7' has no readable picture: .*truncated"),
        ("thin", "'set/7' has a picture of 60 x 27 pixels; at least 28 each way"),
        ("long", "'set/7' has a picture of 28 x 5601 pixels; .* at most 200 to 1"),
    ],
)
def test_a_bad_picture_is_one_line_with_the_record(tmp_path, bad, complaint):
    path = tmp_path / f"{bad}.png"
    if bad == "text":
        path.write_text("no picture")
    elif bad == "cut":
        noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:2000])
    elif bad != "gone":
        Image.new("RGB", {"thin": (60, 27), "long": (28, 5601)}[bad]).save(path)
    with pytest.raises(ValueError, match=complaint) as fault:
        records.read_pixels(record(records.image_file(path)))
    assert "\n" not in str(fault.value)


def test_a_picture_whose_size_is_not_the_records_is_refused(photo):
    with pytest.raises(ValueError, match=r"gives its picture 40 x 60 pixels and it has 60 x 40"):
        records.read_pixels(record(records.image_file(photo))._replace(size=(40, 60)))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        (RIGHT | {"letters": ("A", "C")}, r"'set/7' has the answer \['A', 'C'\], .* \['A', 'B'\]"),
        ({}, r"'set/7' has the answer \[\]"),
        (
            RIGHT | {"boxes": (Box("car", 9, 0, 3, 5, SPACE),)},
            r"box \[9, 0, 3, 5\] of 'car' is inverted or empty",
        ),
        (
            RIGHT | {"boxes": (Box("car", 9, 0, 103, 5, SPACE),)},
            r"box \[9, 0, 103, 5\] of 'car' is outside its picture of 100 x 50",
        ),
    ],
)
def test_a_record_that_cannot_be_right_is_refused(fields, complaint):
    with pytest.raises(ValueError, match=complaint):
        records.check_record(record(None, **fields))


def test_skipping_counts_and_lists_what_is_left_out(photo, caplog):
    def read(name, fields):
        if fields["kind"] == "other":
            return None
        place = photo if name != "2" else photo.parent / "gone.png"
        return record(records.image_file(place), **RIGHT)._replace(
            id=name, letters=(fields["letter"],)
        )

    raw = [
        ("0", {"kind": "x", "letter": "A"}),
        ("1", {"kind": "x", "letter": "Z"}),
        ("2", {"kind": "x", "letter": "A"}),
        ("3", {"kind": "other"}),
        ("4", {}),
    ]
    with caplog.at_level(logging.WARNING):
        found = records.collect(raw, read, "skip")
    assert [r.id for r in found] == ["0"]
    first, *lines = caplog.messages[0].splitlines()
    assert first == "3 bad records are left out:"
    assert ["'1'" in lines[0], "'2'" in lines[1], "'4' has no field 'kind'" in lines[2]] == [
        True
    ] * 3
    with pytest.raises(ValueError, match="'1' has the answer"):
        records.collect(raw, read, "raise")
    with pytest.raises(ValueError, match="on_bad_record is 'drop'; choose from raise, skip"):
        records.collect(raw, read, "drop")
    with pytest.raises(ValueError, match="no record is left, 1 of them are bad"):
        records.collect(raw[1:2], read, "skip")


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.json", '{"7": {"a": 1}}', [("7", {"a": 1})]),
        ("a.json", '[{"a": 1}]', [("00000", {"a": 1})]),
        ("a.jsonl", '{"a": 1}\n{"a": 2}\n', [("00000", {"a": 1}), ("00001", {"a": 2})]),
    ],
)
def test_files_of_three_layouts(tmp_path, name, text, found):
    (tmp_path / name).write_text(text)
    assert list(records.from_file(tmp_path / name)) == found


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "no records: .*a.json is not there; give the folder that holds it"),
        ("{", "a.json is not JSON .*; give it as it was released"),
        ("[1]", "a.json: record 00000 is a int, not an object"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, text, complaint):
    if text:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        list(records.from_file(tmp_path / "a.json"))


def test_a_saved_dataset_holds_its_pictures(tmp_path, photo):
    columns = {"image": [str(photo)], "question": ["Q?"]}
    saved = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    datasets.DatasetDict({"train": saved}).save_to_disk(tmp_path / "saved")
    rows, picture = records.load_split(str(tmp_path / "saved"), "x.json", "train")
    assert list(rows) == [("00000", {"question": "Q?"})]
    assert records.read_pixels(record(picture("00000"))).shape == (40, 60, 3)
    with pytest.raises(ValueError, match=r"datasets cannot give its split 'dev' .KeyError"):
        records.load_split(str(tmp_path / "saved"), "x.json", "dev")
    saved.remove_columns("image").save_to_disk(tmp_path / "words")
    with pytest.raises(ValueError, match="has no column image; it has question"):
        records.load_split(str(tmp_path / "words"), "x.json", "train")
