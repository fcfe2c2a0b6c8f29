"""Where records are stored: JSON files, and every form of a data set."""

import json

import datasets
import huggingface_hub
import numpy as np
import pytest
from PIL import Image

from mmcot_jax.tasks import _images as images
from mmcot_jax.tasks import _sources as sources
from mmcot_jax.tasks import aokvqa, drivingvqa, nlvr, piqa, resq, viscot
from mmcot_jax.tasks._schema import BadRecord
from mmcot_jax.tasks.puzzlevqa import KINDS, splits

OFFICIAL = {
    "question_id": "22jb",
    "question": "What is it?",
    "choices": ["cat", "dog"],
    "correct_choice_idx": 1,
    "rationales": ["It barks."],
}


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (64, 48), "red").save(path)
    return path


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.json", '{"7": {"a": 1}}', [("7", {"a": 1})]),
        ("a.json", '[{"a": 1}]', [("00000", {"a": 1})]),
        ("a.jsonl", '{"a": 1}\n\n  \n{"a": 2}\n', [("00000", {"a": 1}), ("00001", {"a": 2})]),
    ],
)
def test_files_of_three_layouts(tmp_path, name, text, found):
    (tmp_path / name).write_text(text)
    rows = list(sources.from_file(tmp_path / name))
    assert [(row.name, row.fields) for row in rows] == found
    ends = [":1", ":4"] if name == "a.jsonl" else [""]
    assert [row.place for row in rows] == [f"{tmp_path / name}{end}" for end in ends]


def test_a_broken_line_or_item_is_one_record_with_a_fault(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": \n[1]\n{"a": 2}\n')
    first, cut, other, last = sources.from_file(tmp_path / "a.jsonl")
    assert (first.fields, last.fields, last.name) == ({"a": 1}, {"a": 2}, "00003")
    assert cut.fault.startswith("is not JSON (Expecting value") and cut.place.endswith(":2")
    assert other.fault == "is a JSON list, not an object"
    (tmp_path / "a.json").write_text('[1, {"a": 2}]')
    one, two = sources.from_file(tmp_path / "a.json")
    assert (one.fault, two.fault, two.fields) == ("is a JSON int, not an object", "", {"a": 2})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "no records: .*a.json is not there; give the folder that holds it"),
        ("{", "a.json cannot be read: not JSON .*line 1 column 2.*; give it as it was released"),
        ("3", "a.json holds no records; give it as it was released"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, text, complaint):
    if text:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        list(sources.from_file(tmp_path / "a.json"))


# ---- forms of a data set -------------------------------------------------------------------------


def saved(folder, photo, cell, split=None):
    rows = datasets.Dataset.from_list([OFFICIAL | {"image": cell(photo)}])
    if split:
        rows = datasets.DatasetDict({split: rows})
    rows.save_to_disk(folder)


def in_bytes(photo):
    return {"bytes": photo.read_bytes(), "path": None}


def typed(rows):
    return rows.cast_column("image", datasets.Image())


FORMS = {
    "saved, a path": lambda f, p: saved(f, p, str),
    "saved, bytes": lambda f, p: saved(f, p, in_bytes),
    "saved, splits": lambda f, p: saved(f, p, str, "train"),
    "saved, Image": lambda f, p: typed(
        datasets.Dataset.from_list([OFFICIAL | {"image": str(p)}])
    ).save_to_disk(f),
    "hub, parquet": lambda f, p: typed(
        datasets.Dataset.from_list([OFFICIAL | {"image": in_bytes(p)}])
    ).to_parquet(f / "data/train-00000-of-00001.parquet"),
    "hub, jsonl": lambda f, p: (f / "train.jsonl").write_text(
        json.dumps(OFFICIAL | {"image": "pictures/1.png"})
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_data_set_gives_the_same_example(tmp_path, photo, form, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    for name in ("data", "pictures"):
        (folder / name).mkdir(parents=True)
    (folder / "pictures/1.png").write_bytes(photo.read_bytes())
    FORMS[form](folder, photo)
    (example,) = aokvqa.load(str(folder))
    assert (example.id, example.answer, example.extra["options"]) == (
        "aokvqa/22jb",
        "B",
        ("cat", "dog"),
    )
    assert (example.prompt[0] == (255, 0, 0)).all() and example.prompt[0].shape == (48, 64, 3)


def test_records_that_name_different_things_are_read_from_datasets(tmp_path, photo):
    record = {
        "img_size": [64, 48],
        "has_multiple_questions": False,
        "questions": ["May I?"],
        "possible_answers": {"A": "Yes", "B": "No"},
        "true_answers": ["B"],
        "relevant_entities": [{"car": [10, 20, 30, 20]}, {"road sign": [0, 0, 9, 8]}],
        "interleaved_explanation": "See.",
        "image": str(photo),
    }
    other = record | {"relevant_entities": [{"pedestrian": [1, 2, 3, 4]}]}
    datasets.Dataset.from_list([record, other]).save_to_disk(tmp_path / "set")
    first, second = drivingvqa.load(str(tmp_path / "set"))
    assert [box.label for box in first.extra["boxes"]] == ["car", "road sign"]
    assert [box.label for box in second.extra["boxes"]] == ["pedestrian"]


def test_a_source_without_records_is_refused_with_what_was_tried(tmp_path, photo):
    with pytest.raises(ValueError, match=r"no records: .*x/x.json is not there; give the folder"):
        list(sources.load_split(str(tmp_path), "x/x.json", "train"))
    saved(tmp_path / "set", photo, str, "train")
    complaint = r"its split 'dev' .ValueError: it has train; .* nor is .*x.json there"
    with pytest.raises(ValueError, match=complaint):
        sources.load_split(str(tmp_path / "set"), "x.json", "dev")
    datasets.Dataset.from_list([OFFICIAL]).save_to_disk(tmp_path / "words")
    with pytest.raises(ValueError, match="has no column image; it has question_id, question,"):
        sources.load_split(str(tmp_path / "words"), "x.json", "train")


def test_a_split_that_was_saved_alone_is_no_other(tmp_path, photo):
    rows = datasets.Dataset.from_list([OFFICIAL | {"image": str(photo)}], split="train")
    rows.save_to_disk(tmp_path / "set")
    assert len(aokvqa.load(str(tmp_path / "set"))) == 1
    with pytest.raises(
        ValueError, match=r"its split 'validation' .ValueError: it has train; save a"
    ):
        aokvqa.load(str(tmp_path / "set"), split="test")


@pytest.mark.parametrize(
    ("split", "name"),
    [("train[:10]", "train"), ("test", "test"), ("train+test", ""), ("train[:5%]+train", "train")],
)
def test_rows_of_a_part_of_a_split_are_of_that_split(tmp_path, photo, split, name):
    rows = datasets.Dataset.from_list([OFFICIAL | {"image": str(photo)}], split=split)
    rows.save_to_disk(tmp_path / "set")
    assert len(sources.from_datasets(str(tmp_path / "set"), name or "train")) == 1
    assert sources.is_saved_table(tmp_path / "set") == (not name)


def test_a_name_that_is_not_on_this_machine_says_what_downloads_it(monkeypatch):
    def offline(*args, **options):
        raise ConnectionError("Couldn't reach the Hub\nmore")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    complaint = (
        r"'org/set' is no folder .*\(ConnectionError: Couldn't reach the Hub\); download it where "
        r"there is a network: hf download --repo-type dataset org/set"
    )
    with pytest.raises(ValueError, match=complaint):
        sources.from_datasets("org/set", "train")


def test_a_name_is_found_in_the_cache_of_the_hub(tmp_path, photo, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert sources.find_cached("org/set") == "org/set"
    repository = tmp_path / "hub/datasets--org--set"
    folder = repository / "snapshots" / ("0" * 40)
    (folder / "pictures").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("0" * 40)
    (repository / "blobs").mkdir()
    (repository / "blobs/1").write_bytes(photo.read_bytes())
    (folder / "pictures/1.png").symlink_to(repository / "blobs/1")  # as the cache does
    (folder / "train.jsonl").write_text(json.dumps(OFFICIAL | {"image": "pictures/1.png"}))
    assert sources.find_cached("org/set") == str(folder)
    (example,) = aokvqa.load("org/set")
    assert example.prompt[0].shape == (48, 64, 3)


def test_texts_of_datasets_are_read_as_hub_folders_too(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    question = {
        "scene": "a cat .",
        "question": "Is it a cat?",
        "answer": ["Yes"],
        "candidate_answers": ["Yes", "No"],
    }
    (tmp_path / "resq").mkdir()
    (tmp_path / "resq/train.jsonl").write_text(json.dumps(question))
    assert resq.load(str(tmp_path / "resq"))[0].answer == "Yes"
    (tmp_path / "piqa").mkdir()
    (tmp_path / "piqa/train.csv").write_text("goal,sol1,sol2,label\ndry,sun,rain,0\n")
    assert piqa.load(str(tmp_path / "piqa"))[0].answer == "0"


# ---- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../p.png", "a/../../p.png", "/etc/p.png", "C:\\p.png", "a\0b"])
def test_a_record_may_not_name_a_picture_outside_its_data_set(tmp_path, name):
    with pytest.raises(BadRecord, match=r"names a picture outside its data set: .*; put it below"):
        images.find(tmp_path, name)
    with pytest.raises(BadRecord, match="names a picture outside its data set"):
        images.as_source(name, tmp_path)


def test_links_below_the_folder_are_followed(tmp_path, photo):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/photos").symlink_to(photo.parent)
    assert images.read(images.find(tmp_path / "set", "photos/photo.png")).shape == (48, 64, 3)


@pytest.mark.parametrize("cell", [None, "", 3, [], {"bytes": None, "path": None}, b""])
def test_a_cell_without_a_picture_is_refused(tmp_path, cell):
    with pytest.raises(BadRecord, match=r"for its image; a picture, a path, or {bytes, path} is"):
        images.as_source(cell, tmp_path)


# ---- released layouts ----------------------------------------------------------------------------


def test_the_released_layout_of_visual_cot_is_read(tmp_path):
    record = {"question": "Q?", "answer": "No", "width": 56, "height": 112, "bboxs": []}
    names = {"gqa": "1.jpg", "cub": "001.Albatross/1.jpg", "v7w": "2.jpg", "textcap": "3.jpg"}
    folders = {"v7w": "visual7w", "textcap": "textvqa"}
    (tmp_path / "metadata").mkdir()
    for number, (part, name) in enumerate(names.items()):
        cot = "cot" if number % 2 else "cot_image_data"
        path = tmp_path / cot / folders.get(part, part) / name
        path.parent.mkdir(parents=True)
        Image.new("RGB", (56, 112)).save(path)
        line = json.dumps(record | {"dataset": part, "image": name})
        (tmp_path / f"metadata/{part}_cot_train.jsonl").write_text(line)
    examples = viscot.load(str(tmp_path), on_bad_record="skip")
    assert sorted(e.extra["kind"] for e in examples) == sorted(names)
    assert examples[0].prompt[0].shape == (112, 56, 3)


def test_the_released_layout_of_nlvr_shows_the_permutation_of_the_boxes(tmp_path):
    item = {"x_loc": 40, "y_loc": 80, "size": 20, "type": "square", "color": "Yellow"}
    record = {
        "sentence": "There is a tower.",
        "label": "true",
        "identifier": "7-0",
        "directory": "2",
        "structured_rep": [[item], [], []],
    }
    pictures = tmp_path / "dev/images/2"
    pictures.mkdir(parents=True)
    for k in range(6):
        Image.new("RGB", (400, 100), (k, 0, 0)).save(pictures / f"dev-7-0-{k}.png")
    (tmp_path / "dev/dev.json").write_text(json.dumps(record) + "\n")
    (example,) = nlvr.load(str(tmp_path), frame="original")
    assert (example.prompt[0] == 0).all()  # permutation 0: the fields as the record lists them
    assert example.extra["boxes"][0].corners == (40, 80, 60, 100)


# ---- roads ---------------------------------------------------------------------------------------


def test_a_picture_means_the_same_by_every_road(tmp_path):
    """A grey picture of 16 bits that is stored on its side: displayed, it is 64 high and black up.

    By a folder, a saved path, saved bytes, a table of drawn scenes, and a released puzzle.
    """
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored left to right, displayed from above
    photo = tmp_path / "aokvqa/images/train2017/000000000007.jpg"
    photo.parent.mkdir(parents=True)
    Image.fromarray(ramp).save(photo, "PNG", exif=exif)
    (tmp_path / "aokvqa/train.json").write_text(json.dumps([OFFICIAL | {"image_id": 7}]))
    saved(tmp_path / "path", photo, str)
    saved(tmp_path / "bytes", photo, in_bytes)
    found = [aokvqa.load(str(tmp_path / name))[0].prompt[0] for name in ("", "path", "bytes")]
    scene = {
        "scene": "a cat .",
        "question": "Is it?",
        "answer": "Yes",
        "candidate_answers": ["Yes"],
    }
    (tmp_path / "train_resq.json").write_text(json.dumps([scene]))
    (tmp_path / "drawn.csv").write_text(f"scene,image\na cat .,{photo.relative_to(tmp_path)}\n")
    options = {"prompt": "given_image", "images": str(tmp_path / "drawn.csv")}
    found.append(resq.load(str(tmp_path), **options)[0].prompt[1])
    record = dict.fromkeys(("question", "answer", "caption", "explanation", "deduction"), "x")
    record |= {"options": ["x", "y"], "image": str(photo.relative_to(tmp_path))}
    (tmp_path / "venn.json").write_text(json.dumps(record))
    (puzzle,) = splits.released(KINDS["venn"], tmp_path)
    found.append(splits.read_picture(puzzle))
    expected = np.linspace(0, 255, 64).round().astype(np.uint8)
    for pixels in found:
        assert pixels.shape == (64, 48, 3)
        assert np.abs(pixels - expected[:, None, None].astype(int)).max() <= 1
        assert (pixels == found[0]).all()


@pytest.mark.parametrize(
    ("delimiter", "encoding"), [(",", "utf-8-sig"), (";", "utf-8"), ("\t", "utf-16")]
)
def test_a_table_of_scenes_is_read_as_spreadsheets_save_it(tmp_path, delimiter, encoding):
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png")
    scene = {"scene": "a caf\u00e9, warm .", "question": "Is it?", "answer": "Yes"}
    (tmp_path / "train_resq.json").write_text(json.dumps([scene | {"candidate_answers": "Yes"}]))
    rows = [["image", "scene"], ["a.png", '"a caf\u00e9, warm ."']]
    table = "\r\n".join(delimiter.join(row) for row in rows)
    (tmp_path / "drawn.csv").write_bytes(table.encode(encoding))
    options = {"prompt": "given_image", "images": str(tmp_path / "drawn.csv")}
    (example,) = resq.load(str(tmp_path), **options)
    assert (example.prompt[1] == (255, 0, 0)).all()
    (tmp_path / "a.png").write_bytes(b"GIF89a")
    with pytest.raises(BadRecord, match=r"'resq/train/0000' has no readable picture: .*a.pn"):
        resq.load(str(tmp_path), **options)
    with pytest.raises(ValueError, match=r"drawn.csv names a picture outside its data set: '../a"):
        (tmp_path / "drawn.csv").write_text("scene,image\nx,../a.png\n")
        resq.load(str(tmp_path), **options)
