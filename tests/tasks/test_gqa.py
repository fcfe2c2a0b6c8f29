"""GQA from its release and as a data set of two parts."""

import json

import datasets
import pytest
from PIL import Image

from mmcot_jax.tasks import gqa

RECORD = {
    "question": "Is it overcast?",
    "imageId": "n161313",
    "answer": "no",
    "fullAnswer": "No, it is clear.",
    "isBalanced": True,
    "types": {"detailed": "weatherVerify", "semantic": "global", "structural": "verify"},
}
QUERY = RECORD | {"types": {"semantic": "attr", "structural": "query"}, "answer": "blue"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "images/n161313.jpg")
    content = {"201307251": RECORD, "2": QUERY}
    (tmp_path / "testdev_balanced_questions.json").write_text(json.dumps(content))
    return tmp_path


def test_an_example_of_the_release(folder):
    example, query = gqa.load(str(folder))
    assert (example.id, example.answer) == ("gqa/201307251", "no")
    assert example.prompt[0].shape == (48, 64, 3)
    assert example.extra["groups"] == {
        "structural": "verify",
        "semantic": "global",
        "answer_type": "binary",
    }
    assert query.extra["groups"]["answer_type"] == "open"


def test_the_two_parts_of_the_data_set_are_joined(folder, tmp_path):
    for part in ("instructions", "images"):
        (tmp_path / f"hub/testdev_balanced_{part}").mkdir(parents=True)
    questions = [{"id": "201307251", **RECORD}, {"id": "2", **QUERY, "imageId": "gone"}]
    for record in questions:
        record["types"] = {"detailed": None, **record["types"]}
    file = "testdev-00000-of-00001.parquet"
    datasets.Dataset.from_list(questions).to_parquet(
        tmp_path / "hub/testdev_balanced_instructions" / file
    )
    pictures = {"id": ["n161313"], "image": [str(folder / "images/n161313.jpg")]}
    rows = datasets.Dataset.from_dict(pictures).cast_column("image", datasets.Image())
    rows.to_parquet(tmp_path / "hub/testdev_balanced_images" / file)
    examples = gqa.load(str(tmp_path / "hub"))
    released = gqa.load(str(folder))[0]
    assert examples[0].id == released.id and examples[0].extra == released.extra
    assert examples[0].prompt[0].shape == (48, 64, 3)
    with pytest.raises(
        ValueError, match=r"'gqa/2' .* has the imageId 'gone', which the data set's"
    ):
        examples[1]
    rows.rename_column("id", "ids").to_parquet(tmp_path / "hub/testdev_balanced_images" / file)
    with pytest.raises(ValueError, match=r"the images of .* have no column id; they have ids, im"):
        gqa.load(str(tmp_path / "hub"))


def test_files_that_are_not_there_are_one_line(folder):
    with pytest.raises(ValueError, match=r"no records: .*val_balanced_questions.json is not there"):
        gqa.load(str(folder), split="validation")
    with pytest.raises(
        ValueError, match=r"no records: /nowhere/testdev_balanced_questions.json is"
    ):
        gqa.load("/nowhere")


def test_the_studys_questions_agree_with_llava(folder):
    asked = {
        "question_id": "201307251",
        "image": "n161313.jpg",
        "text": "Is it overcast?\nAnswer the question using a single word or phrase.",
    }
    (folder / "asked.jsonl").write_text(json.dumps(asked))
    (folder / "said.jsonl").write_text(json.dumps({"question_id": "201307251", "text": "Yes"}))
    (example,) = gqa.load(
        str(folder),
        llava_questions=str(folder / "asked.jsonl"),
        llava_answers=str(folder / "said.jsonl"),
    )
    assert example.answer == "no" and example.extra["llava_answers"]["reference"] == "Yes"
    assert example.id == "gqa/201307251"
