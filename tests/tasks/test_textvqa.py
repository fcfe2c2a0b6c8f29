"""TextVQA from its release and as a data set; and what all benchmarks share: LLaVA's files."""

import json
import random

import datasets
import pytest
from PIL import Image

from mmcot_jax.tasks import _benchmarks as benchmarks
from mmcot_jax.tasks import textvqa

HUMANS = ["nokia"] * 6 + ["Nokia phone"] * 3 + ["n"]
RECORD = {
    "question": "what is the brand?",
    "image_id": "aa",
    "question_id": 34602,
    "answers": HUMANS,
    "set_name": "val",
    "image_width": 64,
}
ASKED = "what is the brand?\nReference OCR token: NOKIA\nAnswer the question using a single word."


def write(folder, records):
    content = {"dataset_type": "val", "dataset_name": "textvqa", "data": records}
    (folder / "TextVQA_0.5.1_val.json").write_text(json.dumps(content))


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train_images").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "train_images/aa.jpg")
    write(tmp_path, [RECORD])
    return tmp_path


def test_an_example_of_the_release(folder):
    (example,) = textvqa.load(str(folder))
    assert example.id == "textvqa/34602"
    assert example.prompt[0].shape == (48, 64, 3)
    assert example.prompt[1].endswith(
        "tags.\nQuestion: what is the brand?\nAnswer the question using a single word or phrase."
    )
    assert example.answer == "nokia"
    extra = example.extra
    assert extra["human_answers"] == tuple(HUMANS)
    assert extra["possible_answers"] == ("nokia", "Nokia phone", "n")
    assert (extra["normal_form"], extra["reads_whole_reply"]) == ("textvqa", False)
    (plain,) = textvqa.stream(str(folder), form="plain", instruction="")
    assert plain.prompt[1] == "what is the brand?" and plain.extra["reads_whole_reply"]


def test_a_data_set_with_its_pictures_gives_the_same(folder, tmp_path):
    columns = {name: [value] for name, value in RECORD.items()}
    image = str(folder / "train_images/aa.jpg")
    rows = datasets.Dataset.from_dict(columns | {"image": [image]})
    rows = rows.cast_column("image", datasets.Image())
    (tmp_path / "hub/data").mkdir(parents=True)
    rows.to_parquet(tmp_path / "hub/data/validation-00000-of-00001.parquet")
    (stored,) = textvqa.load(str(tmp_path / "hub"))
    (released,) = textvqa.load(str(folder))
    assert stored.prompt[1:] == released.prompt[1:] and stored.extra == released.extra
    assert (stored.prompt[0] == released.prompt[0]).all()


@pytest.mark.parametrize(
    ("records", "complaint"),
    [
        (
            [RECORD | {"answers": []}],
            "record '00000' of .*val.json has no answer; give a letter or",
        ),
        ([RECORD | {"answers": None}], "'00000' of .*val.json has no answer"),
        ([RECORD | {"answers": [3]}], r"has 3 in answers\[0\]; text is expected"),
        ([RECORD, RECORD], "'00001' of .* has the id 'textvqa/34602' of record '00000' before it"),
        ([RECORD | {"set_name": "train"}], "is of the set 'train', and val is read; give the file"),
        ([RECORD | {"question": None}], r"has no field 'question' \(it is null\)"),
        ([RECORD | {"image_id": "../../x"}], "names a picture outside its data set"),
        (["x"], "is a JSON str, not an object"),
    ],
)
def test_a_bad_record_is_one_line_or_is_left_out(folder, records, complaint, caplog):
    write(folder, records)
    with pytest.raises(ValueError, match=complaint) as raised:
        textvqa.load(str(folder))
    assert len(str(raised.value).splitlines()) == 1
    good = [RECORD | {"question_id": n} for n in range(30)]
    write(folder, good + records)
    kept = 30 + (len(records) - 1)
    assert len(textvqa.load(str(folder), on_bad_record="skip")) == kept
    assert f"1 of {kept + 1} records are bad and left out" in caplog.text


def test_an_annotation_without_its_picture_is_one_line(folder):
    write(folder, [RECORD | {"image_id": "gone"}])
    examples = textvqa.load(str(folder))
    with pytest.raises(
        ValueError, match=r"'textvqa/34602' of .* has no picture: .*gone.jpg is not"
    ):
        examples[0]


def test_files_that_are_not_the_releases_are_one_line(folder):
    (folder / "TextVQA_0.5.1_val.json").write_text('{"info": 1}')
    with pytest.raises(ValueError, match="has no field 'data'; it has info: give it as it was rel"):
        textvqa.load(str(folder))
    with pytest.raises(ValueError, match=r"no records: .*TextVQA_0.5.1_train.json is not there"):
        textvqa.load(str(folder), split="train")
    with pytest.raises(ValueError, match="split is 'val'; choose from train, validation, test"):
        textvqa.load(str(folder), split="val")


# ---- LLaVA's files -------------------------------------------------------------------------------


def test_llavas_questions_have_human_answers_and_llavas_beside(folder):
    second = RECORD | {"question_id": 34603, "question": "What color?", "answers": ["red"] * 10}
    write(folder, [RECORD, second])
    other = "What color?\nAnswer the question using a single word."
    # ids are those of images: LLaVA's second answer replaces the first, as in the study
    asked = write_lines(
        folder / "llava_textvqa_val_v051_ocr.jsonl",
        [{"question_id": "aa", "image": "aa.jpg", "text": text} for text in (other, ASKED)],
    )
    said = write_lines(
        folder / "llava-v1.5-13b.jsonl",
        [
            {"question_id": "aa", "prompt": ASKED, "text": "Nokia"},
            {"question_id": "aa", "prompt": other, "text": "Blue"},
        ],
    )
    options = {"llava_questions": asked, "llava_answers": said}
    first, last = textvqa.load(str(folder), **options)
    assert (first.id, last.id) == ("textvqa/34603", "textvqa/34602")  # LLaVA's order
    assert last.prompt[1].endswith(f"Question: {ASKED}")
    assert (first.answer, last.answer) == ("red", "nokia")
    assert first.extra["llava_answers"] == {"reference": "Blue", "strict": "Blue"}
    assert last.extra["llava_answers"] == {"reference": "Blue", "strict": "Nokia"}
    (folder / "TextVQA_0.5.1_val.json").unlink()
    first, last = textvqa.load(str(folder), **options)
    assert (first.answer, first.extra["human_answers"]) == ("Blue", ())
    with pytest.raises(
        ValueError, match="asks the question 'aa', to which neither the release nor"
    ):
        textvqa.load(str(folder), llava_questions=asked)


def test_the_studys_subset_is_the_draw_of_its_seed(folder):
    drawn = benchmarks.draw(range(2100), "study")
    assert drawn == random.Random(42).sample(range(2100), 2000)
    assert drawn[:3] == [456, 102, 1126]
    assert benchmarks.draw(range(2100), "all") == range(2100)
    write(folder, [RECORD | {"question_id": n} for n in range(5)])
    order = random.Random(42).sample(range(5), 5)
    examples = textvqa.load(str(folder), subset="study")
    assert [example.id for example in examples] == [f"textvqa/{n}" for n in order]
    assert len(textvqa.load(str(folder), subset="study", count=2)) == 2


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"form": "options"}, "form is 'options'; choose from open, plain"),
        ({"form": "letters"}, "form is 'letters'.*; choose from open, plain"),
        ({"subset": "half"}, "subset is 'half'; choose from all, study"),
        ({"llava_answers": "x"}, "llava_answers is 'x' and llava_questions is not given; give the"),
        ({"split": "test"}, "TextVQA's test has no public answers; give a split that has, or"),
        ({"llava_questions": "/no.jsonl"}, "no records: /no.jsonl is not there"),
        ({"count": 2}, "count 2 of 1 validation records; give 0 for all of them"),
    ],
)
def test_options_that_do_not_fit_are_refused(folder, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        textvqa.load(str(folder), **options)
