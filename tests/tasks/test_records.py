"""Records of questions about pictures, and the gate that all records pass."""

import logging
import pathlib

import numpy as np
import pytest
from PIL import Image

from mmcot_jax.boxes import Box, Space
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks._records import Gate, Record
from mmcot_jax.tasks._schema import BadRecord
from mmcot_jax.tasks._sources import Raw, at


def record(picture=pathlib.Path("none.png"), **fields):
    return Record(id="set/7", picture=at(picture), size=None, questions=("Q?",), **fields)


RIGHT = {"options": {"A": "x", "B": "y"}, "letters": ("A",)}
SPACE = Space("original", 100, 50)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGBA", (60, 40), (255, 0, 0, 0)).save(path)
    return path


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ("gone", "'set/7' has no picture: .*gone.png is not there; get it, or"),
        ("text", "'set/7' has no readable picture: .*text.png: it is none of JPEG, PNG"),
        ("cut", "'set/7' has no readable picture: .*cut.png: image file is truncated"),
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
    with pytest.raises(BadRecord, match=complaint) as fault:
        records.read_pixels(record(path))
    assert "\n" not in str(fault.value)


def test_a_checked_picture_is_not_opened_again_for_its_size(photo):
    checked = records.check_picture(record(photo))
    photo.unlink()
    assert records.read_size(checked) == checked.size == (60, 40)
    with pytest.raises(BadRecord, match=r"photo.png is not there"):
        records.read_size(record(photo))


def test_a_picture_whose_size_is_not_the_records_is_refused(photo):
    with pytest.raises(BadRecord, match=r"gives its picture 40 x 60 pixels and it has 60 x 40:"):
        records.read_pixels(record(photo)._replace(size=(40, 60)))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = photo.with_suffix(".jpg")
    Image.new("RGB", (60, 40)).save(turned, exif=exif)
    assert records.read_pixels(record(turned)._replace(size=(40, 60))).shape == (60, 40, 3)
    with pytest.raises(BadRecord, match=r"60 x 40 pixels and it has 40 x 60 as it is displayed"):
        records.read_pixels(record(turned)._replace(size=(60, 40)))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        (RIGHT | {"letters": ("A", "C")}, r"has the answer 'C', its options are \['A', 'B'\]"),
        ({}, "has no answer; give a letter or a text"),
        (
            RIGHT | {"boxes": (Box("car", 9, 0, 3, 5, SPACE),)},
            r"has the box \[9, 0, 3, 5\] of 'car', which is inverted or empty",
        ),
        (
            RIGHT | {"boxes": (Box("car", 9, 0, 103, 5, SPACE),)},
            r"box \[9, 0, 103, 5\] of 'car', which is outside its picture of 100 x 50",
        ),
    ],
)
def test_a_record_that_cannot_be_right_is_refused(fields, complaint):
    with pytest.raises(BadRecord, match=complaint):
        records.check_record(record(**fields))


def test_a_size_that_no_model_takes_is_refused_before_its_picture_is_opened():
    with pytest.raises(BadRecord, match=r"has a picture of 5628 x 28 pixels; .* at most 200 to 1"):
        records.check_record(record(**RIGHT)._replace(size=(5628, 28)))


# ---- the gate ------------------------------------------------------------------------------------


def rows(**kinds):
    """Rows named after what becomes of them: good, other (left out), bad."""
    names = [f"{kind}{n}" for kind, count in kinds.items() for n in range(count)]
    return [Raw(name, "f.jsonl", {"kind": name.rstrip("0123456789")}) for name in names]


def read(row):
    if row.fields["kind"] == "bad":
        raise BadRecord(f"has no legs: {row.name}", "without legs")
    return None if row.fields["kind"] == "other" else row.name


def test_a_bad_record_stops_with_its_name_and_file():
    with pytest.raises(ValueError, match=r"^record 'bad0' of f.jsonl has no legs: bad0$"):
        records.collect(rows(good=30, bad=1), read, Gate())


def test_skipping_counts_groups_equal_reasons_and_goes_on(caplog):
    given = [*rows(good=60, other=40, bad=2), Raw("line", "f.jsonl:9", None, "is not JSON: x")]
    with caplog.at_level(logging.WARNING):
        found = records.collect(given, read, Gate("skip"))
    assert found == [f"good{n}" for n in range(60)]
    assert caplog.messages[0].splitlines() == [
        "3 of 63 records are bad and left out:",
        "  2 records without legs; the first: record 'bad0' of f.jsonl has no legs: bad0",
        "  1 record not given as a JSON object; record 'line' of f.jsonl:9 is not JSON: x",
    ]


def test_skipping_stops_above_the_share_that_may_be_lost():
    assert len(records.collect(rows(good=19, bad=1), read, Gate("skip"))) == 19
    complaint = (
        r"2 of 21 records are bad, more than the share data.max_bad=0.05: 2 records without legs"
    )
    with pytest.raises(ValueError, match=complaint):
        records.collect(rows(good=19, bad=2), read, Gate("skip"))
    assert len(records.collect(rows(good=19, bad=2), read, Gate("skip", max_bad=0.1))) == 19
    with pytest.raises(ValueError, match="1 of 20 records are bad"):
        records.collect(rows(good=19, bad=1), read, Gate("skip", max_bad=0.0))


def test_skipping_stops_where_a_part_of_the_set_is_lost_whole():
    def part(fields):
        return {"bad": "cub"}.get(fields["kind"], "gqa")

    with pytest.raises(ValueError, match="no record of cub is left, 2 of them are bad: cub: 2 rec"):
        records.collect(rows(good=90, bad=2), read, Gate("skip"), subset=part)
    with pytest.raises(ValueError, match="no record is left, 2 of them are bad: 2 records without"):
        records.collect(rows(other=5, bad=2), read, Gate("skip", max_bad=1.0))
    with pytest.raises(ValueError, match="no record is left, and none of them is bad; check the"):
        records.collect(rows(other=5), read, Gate())


def test_pictures_are_checked_at_once_with_skip_and_when_used_with_raise():
    def check(name):
        if name == "good7":
            raise BadRecord("has no colours")
        return name

    assert len(records.collect(rows(good=30), read, Gate("skip"), check=check)) == 29
    assert len(records.collect(rows(good=30), read, Gate("raise"), check=check)) == 30


@pytest.mark.parametrize(
    ("gate", "complaint"),
    [
        (Gate("drop"), "on_bad_record is 'drop'; choose from raise, skip"),
        (Gate(max_bad=1.5), "data.max_bad is 1.5; give a share from 0 to 1"),
        (Gate(max_image_pixels=0), "data.max_image_pixels is 0; give a number from 1 to 178956970"),
    ],
)
def test_options_out_of_range_are_refused(gate, complaint):
    with pytest.raises(ValueError, match=complaint):
        records.collect([], read, gate)


def test_an_error_stays_one_line_of_bounded_length():
    error = BadRecord("has\na line\u2028and " + "x" * 5000)
    line = records.name_fault("a\nb", "f.json", error)
    assert len(line.splitlines()) == 1 and len(line) < 700
