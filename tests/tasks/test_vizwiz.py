"""VizWiz from its release and as a data set."""

import json

import datasets
import pytest
from PIL import Image

from mmcot_jax.tasks import vizwiz

NAME = "VizWiz_val_00000000.jpg"
RECORD = {
    "image": NAME,
    "question": "Can you tell me what this is?",
    "answers": [{"answer": "unanswerable", "answer_confidence": "yes"}] * 7
    + [{"answer": "a cat", "answer_confidence": "no"}] * 3,
    "answer_type": "unanswerable",
    "answerable": 0,
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "val").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "val" / NAME)
    (tmp_path / "val.json").write_text(json.dumps([RECORD]))
    return tmp_path


def test_an_example_of_the_release(folder):
    (example,) = vizwiz.load(str(folder))
    assert (example.id, example.answer) == ("vizwiz/VizWiz_val_00000000", "unanswerable")
    assert example.prompt[1].endswith(
        "what this is?\nWhen the provided information is insufficient, respond with "
        "'Unanswerable'.\nAnswer the question using a single word or phrase."
    )
    assert example.extra["answerable"] is False
    assert example.extra["groups"] == {"answer_type": "unanswerable"}
    assert example.extra["possible_answers"] == ("unanswerable", "a cat")


def test_a_data_set_gives_the_same(folder, tmp_path):
    row = {
        "question_id": NAME,
        "image": str(folder / "val" / NAME),
        "question": RECORD["question"],
        "answers": [x["answer"] for x in RECORD["answers"]],
        "category": "unanswerable",
    }
    rows = datasets.Dataset.from_list([row]).cast_column("image", datasets.Image())
    (tmp_path / "hub/data").mkdir(parents=True)
    rows.to_parquet(tmp_path / "hub/data/val-00000-of-00001.parquet")
    (stored,) = vizwiz.load(str(tmp_path / "hub"))
    (released,) = vizwiz.load(str(folder))
    assert stored.id == released.id and stored.extra == released.extra


@pytest.mark.parametrize(
    ("records", "complaint"),
    [
        (
            [RECORD | {"image": "VizWiz_train_1.jpg"}],
            "has the picture 'VizWiz_train_1.jpg', and va",
        ),
        ([RECORD | {"answers": []}], "has no answer"),
        ([RECORD, RECORD], "has the id 'vizwiz/VizWiz_val_00000000' of record '00000' before it"),
        ([RECORD | {"answers": [{"answer": 3}]}], r"has 3 in answers\[0\]; text is expected"),
    ],
)
def test_a_bad_record_is_one_line(folder, records, complaint):
    (folder / "val.json").write_text(json.dumps(records))
    with pytest.raises(ValueError, match=f"record '.*' of .*val.json {complaint}"):
        vizwiz.load(str(folder))
