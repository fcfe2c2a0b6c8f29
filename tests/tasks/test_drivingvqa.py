"""DrivingVQA from a folder in the study's layout."""

import json

import numpy as np
import pytest
from PIL import Image

from mmcot_jax.boxes import Space
from mmcot_jax.example import Reply
from mmcot_jax.rewards import REWARDS
from mmcot_jax.tasks import drivingvqa

RECORD = {
    "img_filename": "images/1.jpg",
    "img_size": [100, 60],
    "has_multiple_questions": False,
    "questions": ["May I park here?"],
    "possible_answers": {"A": "Yes", "B": "No", "C": "At night", "D": None},
    "true_answers": ["B", "C"],
    "relevant_entities": [{"car": [10, 20, 30, 40], "x": [0, 0, 1, 1]}, {"sign": [0, 0, 9.5, 8]}],
    "interleaved_explanation": "The car [10, 20, 30, 40] is at the sign [0, 0, 9.5, 8].",
}


@pytest.fixture
def folder(tmp_path):
    """Six records: one plain, one with two questions, one too large, three more plain."""
    two = {"has_multiple_questions": True, "questions": ["Q1?", "Q2?"]}
    large = {"img_size": [1921, 1920]}
    records = {"1": RECORD, "2": RECORD | two, "3": RECORD | large}
    records |= {str(n): RECORD for n in (4, 5, 6)}
    (tmp_path / "DrivingVQA").mkdir()
    for name, some in (("train", records), ("test", {"9": RECORD})):
        (tmp_path / f"DrivingVQA/{name}.json").write_text(json.dumps(some))
    (tmp_path / "images").mkdir()
    Image.new("RGB", (100, 60), "red").save(tmp_path / "images/1.jpg")
    return tmp_path


def test_an_example_written_out(folder):
    examples = drivingvqa.load(str(folder), split="test")
    (example,) = examples
    picture, words = example.prompt
    assert picture.shape == (60, 100, 3)
    assert "Question: May I park here?\nOptions: (A) Yes (B) No (C) At night.\n" in words
    assert example.id == "drivingvqa/9" and example.answer == "B, C"
    target = (
        "<think>The car [11,18,44,56 car] is at the sign [0,0,10,7 sign].</think> "
        "<answer>B, C</answer>"
    )
    assert example.rationale == (target,) and example.extra["solution"] == target
    assert example.extra["options"] == ("Yes", "No", "At night")
    assert example.extra["space"] == Space("resized", 112, 56)
    assert [box.corners for box in example.extra["boxes"]] == [(11, 18, 44, 56), (0, 0, 10, 7)]
    rewards = ("tagged_accuracy", "tagged_format", "iou", "reference_vlmr1_bbox")
    assert [REWARDS[name](example, Reply((target,))) for name in rewards] == [1.0] * 4


def test_two_questions_and_large_pictures_are_left_out(folder):
    def ids(**options):
        records = drivingvqa.load(str(folder), **options)
        return [record.id.removeprefix("drivingvqa/") for record in records._records]

    assert ids() == ["1", "4", "5", "6"]
    assert ids(two_questions=True) == ["1", "2", "4", "5", "6"]
    assert ids(count=2) == ["1", "4"]
    kept = ids(split="validation", validation_count=1)
    assert sorted(kept + ids(validation_count=1)) == ids()


def test_a_picture_is_read_when_its_example_is_used(folder):
    examples = drivingvqa.load(str(folder))
    (folder / "images/1.jpg").unlink()
    assert len(examples) == 4 and len(examples[1:]) == 3
    with pytest.raises(
        ValueError, match=r"'drivingvqa/4' of .* has no picture: .*1.jpg is not there"
    ):
        examples[1]
    with pytest.raises(ValueError, match="no record is left, 4 of them are bad"):
        drivingvqa.load(str(folder), on_bad_record="skip")


@pytest.mark.parametrize("on_bad_record", ["raise", "skip"])
def test_a_sized_example_is_the_example_with_a_blank_picture(folder, on_bad_record):
    examples = drivingvqa.load(str(folder), on_bad_record=on_bad_record)
    example, sized = examples[1], examples[1:].sized(0)
    assert sized._replace(prompt=()) == example._replace(prompt=())
    picture, blank = example.prompt[0], sized.prompt[0]
    assert blank.shape == picture.shape and blank.dtype == picture.dtype
    assert blank.strides == (0, 0, 0) and not blank.any()
    assert sized.prompt[1] == example.prompt[1]


def test_a_damaged_picture_is_found_when_its_size_is_learned(folder):
    noise = np.random.default_rng(0).integers(0, 255, (60, 100, 3), np.uint8)
    path = folder / "images/1.jpg"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    examples = drivingvqa.load(str(folder))
    for use in (examples.sized, examples.__getitem__):
        with pytest.raises(ValueError, match=r"'drivingvqa/4' of .* no readable picture: .*trunc"):
            use(1)
    with pytest.raises(ValueError, match="no record is left, 4 of them are bad: 4 records without"):
        drivingvqa.load(str(folder), on_bad_record="skip")


def test_damage_in_the_midst_of_a_jpeg_is_left_out_by_skip_and_found_when_it_is_used(folder):
    noise = np.random.default_rng(0).integers(0, 255, (60, 100, 3), np.uint8)
    path = folder / "images/1.jpg"
    Image.fromarray(noise).save(path, progressive=True)
    data = bytearray(path.read_bytes())
    data[-4000:-2] = b"\xff\xda" * 1999  # scans without a header; the end mark is there
    path.write_bytes(data)
    examples = drivingvqa.load(str(folder))
    assert examples.sized(1).prompt[0].shape == (60, 100, 3)
    with pytest.raises(ValueError, match=r"'drivingvqa/4' of .* has no readable picture: .*1.jpg"):
        examples[1]
    with pytest.raises(ValueError, match="no record is left, 4 of them are bad: 4 records without"):
        drivingvqa.load(str(folder), on_bad_record="skip")


def test_the_studys_frame_is_that_of_the_picture(folder):
    (example,) = drivingvqa.load(str(folder), split="test", frame="original")
    assert "[10,20,40,60 car]" in example.rationale[0]
    assert example.extra["space"] == Space("original", 100, 60)
    assert next(drivingvqa.stream(str(folder), split="test")).id == example.id


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"relevant_entities": [{"car": [1, 2, 3]}]},
            r"'1' of .*json has \[1, 2, 3\] in relevant_entities\[0\].car; a list of 4",
        ),
        ({"true_answers": 3}, "'1' of .*json has 3 in true_answers; text, or a list of texts, is"),
        ({"relevant_entities": [[1]]}, r"has \[1\] in relevant_entities\[0\]; an object is exp"),
        ({"questions": ["1?", "2?", "3?"]}, "'1' of .*json has 3 questions; one or two are expec"),
        ({"img_size": [100]}, r"has \[100\] in img_size; a list of 2 items is expected"),
        ({"true_answers": ["E"]}, r"has the answer 'E', its options are \['A', 'B', 'C'\]"),
        ({"relevant_entities": [{"car": [1, 2, 0, 3]}]}, "'1' of .* inverted or empty"),
        ({"relevant_entities": [{"car": [90, 2, 20, 3]}]}, "'1' of .* outside its picture"),
    ],
)
def test_a_bad_record_is_named(folder, change, complaint):
    path = folder / "DrivingVQA/train.json"
    path.write_text(json.dumps({"1": RECORD | change}))
    with pytest.raises(ValueError, match=complaint):
        drivingvqa.load(str(folder))


def test_an_unknown_split_or_a_missing_file_is_refused(folder):
    with pytest.raises(ValueError, match="split is 'val'; choose from train, validation, t"):
        drivingvqa.load(str(folder), split="val")
    with pytest.raises(ValueError, match=r"no records: .*DrivingVQA/train.json is not there"):
        drivingvqa.load(str(folder / "images"))
