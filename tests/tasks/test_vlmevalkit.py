"""VLMEvalKit's TSV files."""

import base64
import csv
import io

import numpy as np
import pytest
from PIL import Image

from mmcot_jax.tasks import vlmevalkit

COLUMNS = ("index", "image", "question", "hint", "A", "B", "C", "answer", "category", "l2-category")


def picture(width=64):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, width, 3), np.uint8)).save(
        out, "PNG"
    )
    return base64.b64encode(out.getvalue()).decode()


ROW = {
    "index": "0",
    "image": picture(),
    "question": 'Which "one"?\nSay it.',
    "hint": "Look.",
    "A": "red",
    "B": "blue",
    "answer": "B",
    "category": "color",
    "l2-category": "attr",
}


def write(path, rows, columns=COLUMNS):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def test_a_row_written_out_and_a_picture_shared_by_index(tmp_path):
    file = write(tmp_path / "b.tsv", [ROW, ROW | {"index": "1", "image": "0", "answer": "A"}])
    first, second = vlmevalkit.load(file)
    assert first.id == "vlmevalkit/0" and first.answer == "B"
    assert first.prompt[0].shape == (48, 64, 3)
    assert first.prompt[1].endswith(
        'Question: Look.\nWhich "one"?\nSay it.\nA. red\nB. blue\n'
        "Answer with the option's letter from the given choices directly."
    )
    assert first.extra["groups"] == {"category": "color", "l2_category": "attr"}
    assert first.extra["columns"] == {x: cell for x, cell in ROW.items() if x != "image"}
    assert (first.prompt[0] == second.prompt[0]).all() and second.answer == "A"


def test_short_answers_and_lists_of_them(tmp_path):
    bare = {x: ROW[x] for x in ("index", "image", "question")}
    rows = [bare | {"answer": "two"}, bare | {"index": "1", "answer": "['two', '2']"}]
    first, second = vlmevalkit.load(write(tmp_path / "b.tsv", rows), form="plain")
    assert first.answer == "two" and first.prompt[1].endswith("single word or phrase.")
    assert second.extra["human_answers"] == ("two", "2")


def test_a_picture_by_its_path(tmp_path):
    (tmp_path / "p.png").write_bytes(base64.b64decode(ROW["image"]))
    row = {**ROW, "image": "", "image_path": "p.png"}
    (example,) = vlmevalkit.load(write(tmp_path / "b.tsv", [row], (*COLUMNS, "image_path")))
    assert example.prompt[0].shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"answer": "D"}, "has the answer 'D', in which 'D' is none of its options A, B"),
        ({"answer": ""}, "has no field 'answer'"),
        ({"image": "9"}, "has the image '9', which is neither base64 nor the index of a row"),
        ({"image": ""}, "has no field 'image_path'"),
        ({"B": "", "C": "green", "answer": "A"}, "has the options A, C; give A, B, ... without a"),
        ({"index": ""}, "has no field 'index'"),
        (
            {"A": "", "B": "", "answer": r"['\ud800']"},
            r"has '\\ud800' in answer\[0\]; text without",
        ),
        ({"index": "0"}, "has the id 'vlmevalkit/0' of record '0' before it"),
    ],
)
def test_a_bad_row_is_one_line(tmp_path, change, complaint):
    file = write(tmp_path / "b.tsv", [ROW, ROW | {"index": "1"} | change])
    with pytest.raises(ValueError, match=rf"record '0*[01]' of .*b.tsv:\d {complaint}"):
        vlmevalkit.load(file)


def test_an_image_that_is_no_base64_is_one_line(tmp_path):
    examples = vlmevalkit.load(write(tmp_path / "b.tsv", [ROW | {"image": f"['{picture()}']"}]))
    with pytest.raises(
        ValueError, match=r"'vlmevalkit/0' .* has an image that is not one picture in"
    ):
        examples[0]


def test_files_that_are_none_of_vlmevalkit_are_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"no records: .*x.tsv is not there; give a TSV file"):
        vlmevalkit.load(str(tmp_path / "x.tsv"))
    (tmp_path / "x.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(ValueError, match=r"x.tsv has no column index, question; it has a, b: name"):
        vlmevalkit.load(str(tmp_path / "x.tsv"))
    (tmp_path / "x.tsv").write_bytes(b"index\tquestion\n1\t\xff\n")
    with pytest.raises(ValueError, match=r"x.tsv is no TSV in UTF-8"):
        vlmevalkit.load(str(tmp_path / "x.tsv"))
