"""A-OKVQA in the study's schema, in the official one, and from `datasets`."""

import json

import datasets
import pytest
from PIL import Image

from mmcot_jax.tasks import aokvqa

STUDY = {
    "img_filename": "7.jpg",
    "img_size": [64, 64],
    "questions": "What is it?",
    "possible_answers": {"A": "cat", "B": "dog"},
    "true_answers": "B",
    "relevant_entities": [{"dog": [0, 0, 32, 64]}],
    "interleaved_explanation": "The dog [0, 0, 32, 64] barks.",
}
OFFICIAL = {
    "image_id": 7,
    "question_id": "22jb",
    "question": "What is it?",
    "choices": ["a", "b", "c", "d", "e"],
    "correct_choice_idx": 4,
    "rationales": ["It barks.", "It is a dog."],
}


@pytest.fixture
def folder(tmp_path):
    for name in ("train2017", "val2017"):
        (tmp_path / "aokvqa/images" / name).mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "aokvqa/images/train2017/7.jpg")
    Image.new("RGB", (64, 48)).save(tmp_path / "aokvqa/images/val2017/000000000007.jpg")
    (tmp_path / "aokvqa/train.json").write_text(json.dumps({"a": STUDY, "b": STUDY}))
    (tmp_path / "aokvqa/val.json").write_text(json.dumps([OFFICIAL]))
    return tmp_path


def test_training_has_chains_with_boxes(folder):
    example = aokvqa.load(str(folder))[0]
    assert example.id == "aokvqa/a"
    assert example.rationale == (
        "<think>The dog [0,0,28,56 dog] barks.</think> <answer>B</answer>",
    )
    assert example.extra["possible_answers"] == ("dog",)
    (kept,) = aokvqa.load(str(folder), split="validation", validation_count=1)
    (learnt,) = aokvqa.load(str(folder), validation_count=1)
    assert {kept.id, learnt.id} == {"aokvqa/a", "aokvqa/b"}


def test_the_open_form_is_answered_by_the_text_of_the_option(folder):
    example = next(aokvqa.stream(str(folder), form="open"))
    assert example.prompt[1].endswith("</answer> tags.\nQuestion: What is it?")
    assert example.answer == "dog" and example.extra["options"] == ()


def test_the_test_is_the_official_validation_with_any_number_of_options(folder):
    (example,) = aokvqa.load(str(folder), split="test")
    assert "(D) d (E) e.\n" in example.prompt[1]
    assert example.prompt[0].shape == (48, 64, 3)
    assert (example.id, example.answer) == ("aokvqa/22jb", "E")
    assert example.rationale == ("<answer>E</answer>",)
    assert example.extra["boxes"] == ()


def test_official_training_records_of_a_dataset_have_a_rationale(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "p.png")
    columns = {name: [value] for name, value in OFFICIAL.items() if name != "image_id"}
    rows = datasets.Dataset.from_dict(columns | {"image": [str(tmp_path / "p.png")]})
    rows = rows.cast_column("image", datasets.Image())
    saved = datasets.DatasetDict({"train": rows, "validation": rows})
    saved.save_to_disk(tmp_path / "saved")
    (example,) = aokvqa.load(str(tmp_path / "saved"))
    assert example.rationale == ("<think>It barks.</think> <answer>E</answer>",)
    (example,) = aokvqa.load(str(tmp_path / "saved"), split="test")
    assert example.rationale == ("<answer>E</answer>",)


def test_an_answer_that_is_no_choice_is_refused(folder):
    (folder / "aokvqa/val.json").write_text(json.dumps([OFFICIAL | {"correct_choice_idx": 5}]))
    with pytest.raises(ValueError, match=r"'00000' of .*json has the correct_choice_idx 5 of 5"):
        aokvqa.load(str(folder), split="test")
    with pytest.raises(ValueError, match="split is 'val'; choose from train, validation, test"):
        aokvqa.load(str(folder), split="val")


@pytest.mark.reference
def test_the_released_validation_is_read(reference, tmp_path):
    (tmp_path / "aokvqa").mkdir()
    stored = (reference / "data/aokvqa/aokvqa_v1p0_val.json").read_text()
    (tmp_path / "aokvqa/val.json").write_text(stored)
    examples = aokvqa.load(str(tmp_path), split="test")
    assert len(examples) == 600
    with pytest.raises(ValueError, match=r"'aokvqa/22jbM6gDxdaMaunuzgrsBB' .*val2017/000000461751"):
        examples[0]
