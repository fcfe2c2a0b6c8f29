"""NLVR: sentences that are true or false of a drawn picture whose objects are all known.

    load("nlvr", split="train")                    # nlvr/dev.jsonl, nlvr/images/...

Source: Suhr et al. 2017, A Corpus of Natural Language for Visual Reasoning (CC-BY-4.0).
"""

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmcot_jax.boxes import Sight, Space, from_xywh
from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks._grounded import SIGHT, Examples, Style
from mmcot_jax.tasks._records import Fields, Record

EVALUATOR = "grounded"
LAZY_IMAGES = True
COSMETIC_OPTIONS = ()

SPLITS = ("train", "validation", "test")
SIZE = (400, 100)
"""Width and height of a picture: three fields of 100 pixels, 50 apart."""
FIELDS = {"left": 0, "middle": 150, "right": 300}
"""Fields and their left edges."""
COLORS = {"#0099ff": "blue", "Black": "black", "Yellow": "yellow"}
OPTIONS = {"A": "true", "B": "false"}


def split_of(sentence: str) -> str:
    """Returns the split of a sentence and all its pictures: 1 in 10 test, 1 in 10 validation."""
    return {0: "test", 1: "validation"}.get(zlib.crc32(sentence.encode()) % 10, "train")


def read(name: str, fields: Fields, folder: Path) -> Record:
    """Reads a record; every object is a box.

    Raises:
        ValueError: a label, colour or number of fields that NLVR does not have.
        KeyError: a field is missing.
    """
    label, parts = str(fields["label"]).lower(), fields["structured_rep"]
    if label not in OPTIONS.values() or len(parts) != len(FIELDS):
        raise ValueError(
            f"its label is {label!r} and it has {len(parts)} fields; NLVR's are true or false, "
            f"and {len(FIELDS)}"
        )
    boxes, sentences, space = [], [], Space("original", *SIZE)
    for (field, left), items in zip(FIELDS.items(), parts, strict=True):
        items = sorted(items, key=lambda item: (item["x_loc"], item["y_loc"]))
        xywh = [[left + x["x_loc"], x["y_loc"], x["size"], x["size"]] for x in items]
        boxes += [from_xywh(_name(x), box, space) for x, box in zip(items, xywh, strict=True)]
        # the explanation names objects by their boxes
        sentences.append(f"The {field} field has {', '.join(map(str, xywh)) or 'nothing'}.")
    letter = next(letter for letter, text in OPTIONS.items() if text == label)
    return Record(
        id=f"nlvr/{fields['identifier']}",
        picture=records.image_file(folder / fields["image"]),
        size=SIZE,
        questions=(f"Is this sentence true of the picture? {fields['sentence']}",),
        options=OPTIONS,
        letters=(letter,),
        possible_answers=(label,),
        explanation=" ".join(sentences),
        boxes=tuple(boxes),
    )


def _name(item: Mapping[str, Any]) -> str:
    if item["color"] not in COLORS:
        raise ValueError(f"its object has the color {item['color']!r}; NLVR's are {list(COLORS)}")
    return f"{COLORS[item['color']]} {item['type']}"


def stream(source: str, **options: Any) -> Iterator[Example]:
    """Yields the examples of `load`."""
    return iter(load(source, **options))


def load(
    source: str,
    *,
    split: str = "train",
    form: str = "options",
    count: int = 0,
    boxes: bool = True,
    frame: str = "resized",
    sight: Sight = SIGHT,
    on_bad_record: str = "raise",
) -> Examples:
    """Returns sentences to judge; a picture is read when its example is used.

    The chain names the objects of each field, not why they make the sentence true.

    Args:
        source: the folder with `dev.jsonl`, one object a line, and the pictures it names.
        split: "train", "validation" or "test", as `split_of` the sentence.
        form: "options": answered by a letter; "open": by "true" or "false".
        count: number of questions, the first ones; 0 for all.
        boxes, frame, sight: as `_grounded.Style`.
        on_bad_record: "raise" or "skip".

    Returns:
        Examples; `extra` is as `_grounded.example`.

    Raises:
        ValueError: an unknown name, a source that does not exist, a bad record, too few records.
    """
    style = Style(form, boxes, frame, sight).check()
    check_choice("split", split, SPLITS)
    folder = Path(source)

    def read_row(name: str, fields: Fields) -> Record | None:
        return read(name, fields, folder) if split_of(fields["sentence"]) == split else None

    found = records.collect(records.from_file(folder / "dev.jsonl"), read_row, on_bad_record)
    return Examples(records.limit(found, count, split), style)
