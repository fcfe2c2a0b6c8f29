"""Visual-CoT from a folder in the study's layout."""

import json
import logging

import pytest
from PIL import Image

from mmcot_jax.boxes import Box, Space
from mmcot_jax.tasks import viscot

RECORD = {
    "question": "Is the car over the cat?",
    "answer": "No",
    "image": "7.jpg",
    "width": 56,
    "height": 112,
    "bboxs": [[14.5, 28, 28, 56]],
    "dataset": "vsr",
    "split": "train",
}


@pytest.fixture
def folder(tmp_path):
    lines = [
        RECORD,
        RECORD | {"possible_answers": ["no", "nope"]},
        RECORD | {"dataset": "flickr30k"},
        RECORD | {"dataset": "cub", "image": "gone.jpg"},
    ]
    for name in ("data", "images/cot/vsr/images"):
        (tmp_path / "scaleup" / name).mkdir(parents=True)
    (tmp_path / "scaleup/data/b.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))
    Image.new("RGB", (56, 112)).save(tmp_path / "scaleup/images/cot/vsr/images/7.jpg")
    return tmp_path


def test_an_example_written_out(folder):
    example = viscot.load(str(folder))[0]
    assert example.id == "viscot/vsr/b/00000"
    assert example.prompt[1].endswith("</answer> tags.\nQuestion: Is the car over the cat?")
    assert "bounding boxes" in example.prompt[1]
    assert (example.answer, example.rationale) == ("No", ("<answer>No</answer>",))
    space = Space("resized", 56, 112)
    assert example.extra["boxes"] == (Box("", 14, 28, 28, 56, space),)
    assert (example.extra["kind"], example.extra["options"]) == ("vsr", ())
    assert viscot.load(str(folder))[1].extra["possible_answers"] == ("no", "nope")


def test_the_plain_form_is_the_question_alone(folder):
    example = next(viscot.stream(str(folder), form="plain"))
    assert example.prompt[1] == "Is the car over the cat?"


def test_other_sets_are_left_out_and_missing_pictures_too_on_request(folder, caplog):
    examples = viscot.load(str(folder))
    assert len(examples) == 3
    with pytest.raises(
        ValueError, match=r"'viscot/cub/b/00003' of .*b.jsonl:4 .*CUB_200_2011/gone.jpg is not"
    ):
        examples[2]
    assert len(viscot.load(str(folder), sets=("vsr",), count=1)) == 1
    with pytest.raises(ValueError, match="no record of cub is left, 1 of them are bad: cub: 1 rec"):
        viscot.load(str(folder), on_bad_record="skip")
    (folder / "scaleup/images/cot/cub").mkdir()
    Image.new("RGB", (56, 112)).save(folder / "scaleup/images/cot/cub/8.jpg")
    more = folder / "scaleup/data/c.jsonl"
    more.write_text(json.dumps(RECORD | {"dataset": "cub", "image": "8.jpg"}))
    with pytest.raises(ValueError, match=r"1 of 4 records are bad, more than .*data.max_bad=0.05"):
        viscot.load(str(folder), on_bad_record="skip")
    with caplog.at_level(logging.WARNING):
        assert len(viscot.load(str(folder), on_bad_record="skip", max_bad=0.25)) == 3
    assert "1 of 4 records are bad and left out" in caplog.text
    assert "cub: 1 record without a picture in" in caplog.text
    kept = viscot.load(str(folder), sets=("vsr",), split="validation", validation_count=1)
    assert len(kept) == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"sets": ("coco",)}, "a set is 'coco'; choose from gqa, textvqa"),
        ({"split": "val"}, "split is 'val'; choose from train, validation, test"),
        ({"split": "test"}, "no records: .*benchmark has no .json; give the folder of the release"),
        ({"form": "options"}, "Visual-CoT has no options; form is 'open' or 'plain'"),
        (
            {"source": "/nowhere"},
            "no records: /nowhere/scaleup/data has no .jsonl, nor has",
        ),
    ],
)
def test_what_does_not_fit_is_refused(folder, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        viscot.load(**{"source": str(folder), **options})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"bboxs": None}, r"has no field 'bboxs' \(it is null\)"),
        ({"bboxs": [5, 5, 20, 20]}, r"has 5 in bboxs\[0\]; a list of 4 items is expected"),
        ({"bboxs": 3}, "has 3 in bboxs; a list is expected"),
        ({"bboxs": [["1", 2, 3, 4]]}, r"has '1' in bboxs\[0\]\[0\]; a number is expected"),
        ({"bboxs": [[float("nan"), 28, 28, 56]]}, r"has nan in bboxs\[0\]\[0\]; a number is exp"),
        ({"width": "300"}, "has '300' in width; a whole number, 1 or more, is expected"),
        ({"width": None}, r"has no field 'width' \(it is null\)"),
        ({"image": None}, r"has no field 'image' \(it is null\)"),
        ({"image": ["a"]}, r"has \['a'\] in image; text is expected"),
        ({"image": "../../secret.png"}, "names a picture outside its data set: '../../secret.png'"),
        ({"image": "/abs/private.png"}, "names a picture outside its data set: '/abs/private.png'"),
        ({"question": None}, r"has no field 'question' \(it is null\)"),
        ({"possible_answers": [3]}, r"has 3 in possible_answers\[0\]; text is expected"),
        ({"width": 5628, "height": 28}, "has a picture of 5628 x 28 pixels; .* at most 200 to 1"),
    ],
)
def test_a_field_of_another_type_is_one_line_and_is_skipped(folder, change, complaint, caplog):
    lines = [json.dumps(RECORD)] * 20 + [json.dumps(RECORD | change)]
    (folder / "scaleup/data/b.jsonl").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=rf"record 'b/00020' of .*b.jsonl:21 {complaint}"):
        viscot.load(str(folder))
    assert len(viscot.load(str(folder), on_bad_record="skip")) == 20
    assert "1 of 21 records are bad and left out" in caplog.text


def test_one_answer_is_one_answer(folder):
    (folder / "scaleup/data/b.jsonl").write_text(json.dumps(RECORD | {"possible_answers": "yes"}))
    assert viscot.load(str(folder))[0].extra["possible_answers"] == ("yes",)


def test_a_line_with_other_line_separators_in_a_text_is_one_line(folder):
    text = "one\u2028two\u2029three\x85four?"
    line = json.dumps(RECORD | {"question": text}, ensure_ascii=False)
    (folder / "scaleup/data/b.jsonl").write_text(line, "utf-8")
    assert text in viscot.load(str(folder))[0].prompt[1]


def test_a_box_of_three_numbers_is_refused(folder):
    bad = json.dumps(RECORD | {"bboxs": [[1, 2, 3]]})
    (folder / "scaleup/data/b.jsonl").write_text(bad)
    with pytest.raises(ValueError, match=r"'b/00000' of .*b.jsonl:1 has \[1, 2, 3\] in bboxs\[0\]"):
        viscot.load(str(folder))


CONVERSATION = {
    "dataset": "gqa",
    "question_id": 7,
    "image": ["cot/gqa/1.jpg", "cot/gqa/1.jpg###[14, 28, 28, 56]"],
    "conversations": [
        {"from": "human", "value": "<image>\nWhat is it? Please provide the bounding box "
         "coordinate of the region that can help you answer the question better."},
        {"from": "gpt", "value": "[0.1, 0.2, 0.3, 0.4]"},
        {"from": "human", "value": "<image>"},
        {"from": "gpt", "value": "window"},
    ],
}  # fmt: skip


def test_the_benchmark_has_boxes_in_pixels_of_pictures_of_any_size(tmp_path):
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "cot/gqa").mkdir(parents=True)
    (tmp_path / "benchmark/gqa.json").write_text(json.dumps([CONVERSATION]))
    Image.new("RGB", (42, 112)).save(tmp_path / "cot/gqa/1.jpg")
    (example,) = viscot.load(str(tmp_path), split="test")
    assert (example.id, example.answer) == ("viscot/gqa/gqa/00000", "window")
    assert example.prompt[1].endswith("tags.\nQuestion: What is it?")
    # 42 pixels are resized to 56 (42 / 28 is 1.5, rounded to even): 14 is at 18.7
    assert example.extra["space"] == Space("resized", 56, 112)
    assert example.extra["boxes"] == (Box("", 18, 28, 37, 56, Space("resized", 56, 112)),)
    assert example.extra["kind"] == "gqa"
    assert viscot.load(str(tmp_path), split="test").sized(0).extra == example.extra
    bad = CONVERSATION | {"image": ["cot/gqa/1.jpg"]}
    (tmp_path / "benchmark/gqa.json").write_text(json.dumps([bad]))
    with pytest.raises(ValueError, match=r"'gqa/00000' .* has 4 turns and \['cot/gqa/1.jpg'\] for"):
        viscot.load(str(tmp_path), split="test")


@pytest.mark.reference
def test_the_released_benchmark_is_read(reference):
    examples = viscot.load(str(reference / "data/viscot"), split="test")
    assert len(examples) == 600  # 200 each of gqa, textvqa, vsr
    with pytest.raises(
        ValueError, match=r"'viscot/gqa/gqa/00000' .* has no picture: .*2316539.jpg"
    ):
        examples[0]


@pytest.mark.reference
def test_the_released_records_are_read_and_misplaced_boxes_are_found(reference, tmp_path):
    (tmp_path / "scaleup").mkdir()
    (tmp_path / "scaleup/data").symlink_to(reference / "data/viscot/train")
    assert len(viscot.load(str(tmp_path), sets=("cub", "sroie", "vsr"))) == 900
    # of 300 records of dude, 20 have boxes of another resolution
    with pytest.raises(ValueError, match=r"'dude_cot_train/00008' .* is outside its picture of"):
        viscot.load(str(tmp_path), sets=("dude",))
