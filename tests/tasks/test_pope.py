"""POPE from its release and as a data set."""

import json

import datasets
import pytest
from PIL import Image

from mmcot_jax.tasks import pope

RECORD = {"question_id": 1, "image": "COCO_val2014_000000310196.jpg",
          "text": "Is there a snowboard in the image?", "label": "yes"}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "val2014").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "val2014" / RECORD["image"])
    for name in pope.SETS:
        (tmp_path / f"coco_pope_{name}.json").write_text(
            "\n".join(json.dumps(RECORD | {"question_id": n}) for n in (1, 2))
        )
    return tmp_path


def test_three_subsets_with_ids_of_their_own(folder):
    examples = pope.load(str(folder))
    assert [example.id for example in examples] == [
        f"pope/{name}/{n}" for name in pope.SETS for n in (1, 2)
    ]
    assert (examples[2].answer, examples[2].extra["kind"]) == ("yes", "popular")
    assert len(pope.load(str(folder), sets=("random",))) == 2
    with pytest.raises(ValueError, match="sets is empty; give one or more of random, popular"):
        pope.load("pope", sets=())
    with pytest.raises(ValueError, match="a set is 'rare'; choose from random, popular, adversari"):
        pope.load(str(folder), sets=("rare",))


def test_a_data_set_with_its_pictures(folder, tmp_path):
    row = {"id": "0", "question_id": "1", "question": RECORD["text"], "answer": "no",
           "image_source": "COCO_val2014_000000310196", "category": "popular",
           "image": str(folder / "val2014" / RECORD["image"])}  # fmt: skip
    rows = datasets.Dataset.from_list([row, row | {"category": "random"}])
    (tmp_path / "hub/data").mkdir(parents=True)
    rows = rows.cast_column("image", datasets.Image())
    rows.to_parquet(tmp_path / "hub/data/test-00000-of-00001.parquet")
    examples = pope.load(str(tmp_path / "hub"))
    assert [example.id for example in examples] == ["pope/popular/1", "pope/random/1"]
    assert examples[0].answer == "no" and examples[0].prompt[0].shape == (48, 64, 3)
    assert len(pope.load(str(tmp_path / "hub"), sets=("random",))) == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"label": "maybe"}, "has the label 'maybe'; POPE's are yes and no"),
        ({"label": None}, "has the label None; POPE's are yes and no"),
        ({"text": None}, "has no question; give its text"),
        ({"question_id": 1}, "has the id 'pope/random/1' of record 'random/00000' before it"),
    ],
)
def test_a_bad_record_is_one_line(folder, change, complaint):
    lines = [RECORD, RECORD | {"question_id": 2} | change]
    file = folder / "coco_pope_random.json"
    file.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ValueError, match=f"record 'random/00001' of .*random.json:2 {complaint}"):
        pope.load(str(folder), sets=("random",))
    file.write_text('{"a": 1')
    with pytest.raises(ValueError, match=r"record 'random/00000' of .*random.json:1 is not JSON"):
        pope.load(str(folder), sets=("random",))
    file.unlink()
    with pytest.raises(ValueError, match=r"no records: .*coco_pope_random.json is not there"):
        pope.load(str(folder))


def test_llavas_categories_are_the_subsets(folder):
    asked = [
        {"question_id": n, "image": RECORD["image"], "category": name,
         "text": f"{RECORD['text']}\nAnswer the question using a single word or phrase."}
        for n, name in enumerate(("adversarial", "popular"))
    ]  # fmt: skip
    (folder / "asked.jsonl").write_text("\n".join(map(json.dumps, asked)))
    examples = pope.load(str(folder), llava_questions=str(folder / "asked.jsonl"))
    assert [example.id for example in examples] == ["pope/adversarial/1", "pope/popular/1"]
    assert examples[1].extra["kind"] == "popular"


@pytest.mark.reference
def test_the_released_random_subset_is_read(reference):
    examples = pope.load(str(reference / "data/pope"), sets=("random",))
    assert len(examples) == 300
    with pytest.raises(ValueError, match=r"'pope/random/1' of .*random.json:1 has no picture: "):
        examples[0]
