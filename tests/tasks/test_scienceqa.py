"""ScienceQA from its release and as a data set, with pictures and without."""

import json

import datasets
import pytest
from PIL import Image

from mmcot_jax.tasks import scienceqa

RECORD = {
    "question": "Which is north?",
    "choices": ["Ohio", "Maine"],
    "answer": 1,
    "hint": "Look at the map.",
    "image": "image.png",
    "grade": "grade2",
    "subject": "social science",
    "split": "test",
}
WORDS = RECORD | {"image": None, "hint": "", "grade": "grade11", "subject": "language science"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images/test/7").mkdir(parents=True)
    Image.new("RGB", (64, 48)).save(tmp_path / "images/test/7/image.png")
    content = {"7": RECORD, "8": WORDS, "9": RECORD | {"split": "train"}}
    (tmp_path / "problems.json").write_text(json.dumps(content))
    return tmp_path


def test_the_image_is_given_and_questions_in_words_have_none(folder):
    pictured, words = scienceqa.load(str(folder))
    image, text = pictured.prompt
    assert image.shape == (48, 64, 3)
    assert (
        "Question: Context: Look at the map.\nWhich is north?\nOptions: (A) Ohio (B) Maine." in text
    )
    assert (pictured.id, pictured.answer) == ("scienceqa/7", "B")
    assert pictured.extra["groups"] == {
        "subject": ("social",), "context": ("has_text", "has_image"), "grade": ("grade_1_6",),
    }  # fmt: skip
    assert len(words.prompt) == 1 and words.extra["space"] is None
    assert scienceqa.groups("", "9" * 5000, "", False)["grade"] == ("grade_7_12",)
    assert words.extra["groups"] == {
        "subject": ("language",), "context": ("no_context",), "grade": ("grade_7_12",),
    }  # fmt: skip
    sized = scienceqa.load(str(folder)).sized
    assert sized(0).prompt[0].shape == (48, 64, 3) and len(sized(1).prompt) == 1


def test_other_forms_list_the_options_and_are_answered_by_a_letter(folder):
    example = scienceqa.load(str(folder), form="plain")[0]
    assert example.prompt[1] == (
        "Context: Look at the map.\nWhich is north?\nA. Ohio\nB. Maine\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert (example.answer, example.extra["choices"]) == ("B", ("Ohio", "Maine"))


def test_a_data_set_has_null_for_no_picture(folder, tmp_path):
    image = str(folder / "images/test/7/image.png")
    columns = [{**RECORD, "image": image}, {**WORDS, "image": None}]
    rows = datasets.Dataset.from_list(
        [{k: v for k, v in x.items() if k != "split"} for x in columns]
    )
    rows = rows.cast_column("image", datasets.Image())
    (tmp_path / "hub/data").mkdir(parents=True)
    rows.to_parquet(tmp_path / "hub/data/test-00000-of-00001.parquet")
    pictured, words = scienceqa.load(str(tmp_path / "hub"))
    assert pictured.prompt[0].shape == (48, 64, 3) and len(words.prompt) == 1
    assert pictured.extra["groups"]["context"] == ("has_text", "has_image")


def test_the_studys_questions_keep_their_words_and_get_their_picture(folder):
    value = "<image>\nContext: Look.\nWhich is north?\nA. Ohio\nB. Maine"
    asked = [
        {"id": "8", "conversations": [{"from": "human", "value": "Which?"}]},
        {"id": "7", "image": "7/image.png", "conversations": [{"from": "human", "value": value}]},
    ]
    (folder / "llava.json").write_text(json.dumps(asked))
    (folder / "said.jsonl").write_text(json.dumps({"question_id": "7", "text": "A"}))
    files = {
        "llava_questions": str(folder / "llava.json"),
        "llava_answers": str(folder / "said.jsonl"),
    }
    (example,) = scienceqa.load(str(folder), form="open", subset="study", **files)
    assert example.prompt[0].shape == (48, 64, 3)
    assert example.prompt[1].endswith(
        "tags.\nQuestion: Context: Look.\nWhich is north?\nA. Ohio\nB. Maine\n"
        "As the final answer, give directly the option's letter from the given choices."
    )
    assert (example.answer, example.extra["llava_answers"]["reference"]) == ("B", "A")
    assert len(scienceqa.load(str(folder), form="open", **files)) == 2
    asked[1]["id"] = "9"
    (folder / "llava.json").write_text(json.dumps(asked))
    with pytest.raises(ValueError, match="asks the question '9', which the release does not have"):
        scienceqa.load(str(folder), form="open", **files)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"answer": 2}, "has the answer 2 of 2 choices; give the index of one"),
        ({"answer": None}, r"has no field 'answer' \(it is null\)"),
        ({"choices": "Ohio"}, "has 'Ohio' in choices; a list is expected"),
        ({"image": 3}, "has 3 in image; text is expected"),
    ],
)
def test_a_bad_record_is_one_line(folder, change, complaint):
    (folder / "problems.json").write_text(json.dumps({"7": RECORD | change}))
    with pytest.raises(ValueError, match=f"record '7' of .*problems.json {complaint}"):
        scienceqa.load(str(folder))


def test_another_splits_file_has_no_record(folder):
    with pytest.raises(ValueError, match="no record is left, and none of them is bad"):
        scienceqa.load(str(folder), split="validation")


@pytest.mark.reference
def test_the_released_layout_is_read(reference, tmp_path):
    (tmp_path / "problems.json").symlink_to(reference / "data/scienceqa/problems_sample.json")
    examples = scienceqa.load(str(tmp_path))
    assert len(examples) == 33  # of 150 of all splits
    with pytest.raises(
        ValueError, match=r"'scienceqa/\d+' of .* has no picture: .*/image.png is not"
    ):
        list(examples)
