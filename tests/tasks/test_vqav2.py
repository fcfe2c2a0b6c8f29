"""VQAv2 from its two files and as a data set."""

import json

import datasets
import pytest
from PIL import Image

from mmcot_jax.tasks import vqav2

QUESTION = {"image_id": 42, "question": "Is it red?", "question_id": 42000}
HUMANS = [{"answer": x, "answer_confidence": "yes", "answer_id": n} for n, x in
          enumerate(["yes"] * 9 + ["no"], 1)]  # fmt: skip
ANNOTATION = {
    "question_type": "is it",
    "multiple_choice_answer": "yes",
    "answers": HUMANS,
    "image_id": 42,
    "answer_type": "yes/no",
    "question_id": 42000,
}


def write(folder, questions, annotations, subtype="val2014"):
    for name, field, content in (
        ("v2_OpenEnded_mscoco_val2014_questions.json", "questions", questions),
        ("v2_mscoco_val2014_annotations.json", "annotations", annotations),
    ):
        whole = {"data_type": "mscoco", "data_subtype": subtype, field: content}
        (folder / name).write_text(json.dumps(whole))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "val2014").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "val2014/COCO_val2014_000000000042.jpg")
    write(tmp_path, [QUESTION], [ANNOTATION])
    return tmp_path


def test_questions_and_annotations_are_joined_and_a_data_set_gives_the_same(folder, tmp_path):
    (example,) = vqav2.load(str(folder))
    assert (example.id, example.answer) == ("vqav2/42000", "yes")
    assert example.extra["human_answers"] == ("yes",) * 9 + ("no",)
    assert example.extra["groups"] == {"answer_type": "yes/no", "question_type": "is it"}
    assert example.extra["normal_form"] == "vqa"
    image = str(folder / "val2014/COCO_val2014_000000000042.jpg")
    columns = {name: [value] for name, value in (QUESTION | ANNOTATION | {"image": image}).items()}
    rows = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    (tmp_path / "hub/data").mkdir(parents=True)
    rows.to_parquet(tmp_path / "hub/data/validation-00000-of-00001.parquet")
    (stored,) = vqav2.load(str(tmp_path / "hub"))
    assert stored.extra == example.extra and stored.prompt[0].shape == (48, 64, 3)


def test_answers_as_datasets_gives_a_sequence_of_objects(folder):
    listed = {"answer": ["yes"] * 10, "answer_id": list(range(10))}
    write(folder, [QUESTION], [ANNOTATION | {"answers": listed}])
    assert vqav2.load(str(folder))[0].extra["human_answers"] == ("yes",) * 10


def test_a_question_without_its_annotation_is_one_line(folder):
    for annotations in ([], [ANNOTATION | {"question_id": 1}], [ANNOTATION | {"answers": []}]):
        write(folder, [QUESTION], annotations)
        with pytest.raises(ValueError, match=r"'00000' of .*questions.json has no human answers"):
            vqav2.load(str(folder))


def test_annotations_that_are_not_one_for_each_question_are_one_line(folder):
    write(folder, [QUESTION], [ANNOTATION, ANNOTATION | {"answers": [{"answer": "no"}]}])
    twice = f"annotations.json has several annotations of the question {QUESTION['question_id']};"
    with pytest.raises(ValueError, match=twice):
        vqav2.load(str(folder))
    write(folder, [QUESTION], [ANNOTATION | {"image_id": 7}])
    with pytest.raises(ValueError, match="is of the picture 42 and its annotation of 7"):
        vqav2.load(str(folder))


def test_files_of_another_split_are_one_line(folder):
    write(folder, [QUESTION], [ANNOTATION], subtype="train2014")
    with pytest.raises(
        ValueError, match=r"questions.json is of the split 'train2014', and val2014 is read"
    ):
        vqav2.load(str(folder))
    write(folder, [QUESTION], [ANNOTATION])
    (folder / "v2_mscoco_val2014_annotations.json").unlink()
    with pytest.raises(ValueError, match=r"no records: .*annotations.json is not there; the rel"):
        vqav2.load(str(folder))
    (folder / "v2_OpenEnded_mscoco_val2014_questions.json").write_text('{"questions": {}}')
    with pytest.raises(ValueError, match="has no list of questions; give it as it was released"):
        vqav2.load(str(folder))


def test_the_test_dev_is_judged_by_llavas_answers(folder):
    with pytest.raises(ValueError, match="VQAv2's test-dev has no public answers; give a split"):
        vqav2.load(str(folder), split="test")
    asked = {
        "question_id": 42000,
        "image": "COCO_test2015_000000000042.jpg",
        "text": "Is it red?\nAnswer the question using a single word or phrase.",
    }
    (folder / "asked.jsonl").write_text(json.dumps(asked))
    (folder / "said.jsonl").write_text(json.dumps({"question_id": 42000, "text": "Yes"}))
    (folder / "test2015").mkdir()
    Image.new("RGB", (64, 48)).save(folder / "test2015" / asked["image"])
    files = {f"llava_{x}s": str(folder / f"{y}.jsonl")
             for x, y in (("question", "asked"), ("answer", "said"))}  # fmt: skip
    (example,) = vqav2.load(str(folder), split="test", **files)
    assert (example.answer, example.extra["human_answers"]) == ("Yes", ())
    assert example.extra["llava_answers"] == {"reference": "Yes", "strict": "Yes"}
    assert example.extra["normal_form"] == "vqa" and example.prompt[0].shape == (48, 64, 3)
