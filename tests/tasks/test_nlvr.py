"""NLVR: examples, splits, and records that agree with their pictures."""

import json

import numpy as np
import pytest
from PIL import Image

from mmcot_jax.tasks import nlvr

ITEM = {"x_loc": 40, "y_loc": 80, "size": 20, "type": "square", "color": "Yellow"}
RECORD = {
    "sentence": "There is a tower.",
    "label": "true",
    "identifier": "7-0",
    "structured_rep": [[ITEM], [], [ITEM, ITEM | {"x_loc": 10, "color": "#0099ff"}]],
    "image": "images/7.png",
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (400, 100)).save(tmp_path / "images/7.png")
    (tmp_path / "dev.jsonl").write_text(json.dumps(RECORD) + "\n")
    return tmp_path


def test_an_example_written_out(folder):
    assert nlvr.split_of(RECORD["sentence"]) == "train"
    (example,) = nlvr.load(str(folder), frame="original")
    assert example.prompt[1].startswith(
        "Select all correct answers to the following question from the available options. "
        "Question: Is this sentence true of the picture? There is a tower.\n"
        "Options: (A) true (B) false.\n"
    )
    assert example.rationale == (
        "<think>The left field has [40,80,60,100 yellow square]. The middle field has nothing. "
        "The right field has [310,80,330,100 blue square], [340,80,360,100 yellow square]."
        "</think> <answer>A</answer>",
    )
    assert next(nlvr.stream(str(folder), form="open")).answer == "true"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"sentence": None}, r"'00000' of .*jsonl:1 has no field 'sentence' \(it is null\)"),
        ({"structured_rep": [[1], [], []]}, r"has 1 in structured_rep\[0\]\[0\]; an object is"),
        ({"image": None}, "has neither the field image nor directory; give NLVR's dev.json"),
        ({"label": "maybe"}, "'00000' of .*jsonl:1 has the label 'maybe' and 3 fields; NLVR's are"),
        ({"structured_rep": [[]]}, "has the label 'true' and 1 fields"),
        (
            {"structured_rep": [[ITEM | {"color": "Red"}], [], []]},
            "has an object of the color 'Red'; NLVR's are",
        ),
    ],
)
def test_a_record_of_another_kind_is_refused(folder, change, complaint):
    (folder / "dev.jsonl").write_text(json.dumps(RECORD | change))
    with pytest.raises(ValueError, match=complaint):
        nlvr.load(str(folder))
    with pytest.raises(ValueError, match="split is 'dev'; choose from train"):
        nlvr.load(str(folder), split="dev")


COLORS = {"blue": (0, 153, 255), "black": (0, 0, 0), "yellow": (255, 255, 0)}
EMPTY = [(211, 211, 211), (128, 128, 128)]


@pytest.mark.reference
def test_splits_share_no_sentence_and_cover_all_records(reference):
    folder = str(reference / "data/nlvr")
    sizes = [len(nlvr.load(folder, split=split)) for split in nlvr.SPLITS]
    assert sizes == [475, 56, 69] and sum(sizes) == 600


@pytest.mark.reference
def test_every_box_agrees_with_the_drawn_picture(reference):
    """Nothing is drawn outside the boxes; each is filled from edge to edge by its colour."""
    for split in nlvr.SPLITS:
        for example in nlvr.load(str(reference / "data/nlvr"), split=split, frame="original"):
            picture = example.prompt[0]
            empty = np.logical_or(*((picture == color).all(-1) for color in EMPTY))
            boxes = example.extra["boxes"]
            inside = np.zeros(empty.shape, bool)
            for box in boxes:
                x0, y0, x1, y1 = box.corners
                inside[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = True
                drawn = ~empty[y0:y1, x0:x1]
                rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
                edges = (rows[0], columns[0], rows[-1], columns[-1])
                far = (0, 0, drawn.shape[0] - 1, drawn.shape[1] - 1)
                assert np.abs(np.subtract(edges, far)).max() <= 1, (example.id, box)
                color, shape = box.label.split()
                middle = picture[y0 + 2 * (y1 - y0) // 3, (x0 + x1) // 2]
                assert tuple(middle) == COLORS[color], (example.id, box)
                if shape == "square":
                    assert (picture[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] == COLORS[color]).all()
            assert empty[~inside].all(), example.id
