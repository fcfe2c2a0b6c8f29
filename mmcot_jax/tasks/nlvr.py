"""NLVR: human sentences that are true or false of a drawn picture, whose objects are all known.

    load("nlvr", split="train")                    # nlvr/dev.jsonl, nlvr/images/...

Source: Suhr et al. 2017, A Corpus of Natural Language for Visual Reasoning (CC-BY-4.0).
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmcot_jax.boxes import Box, Sight
from mmcot_jax.example import Example
from mmcot_jax.tasks import _grounded as grounded
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks._grounded import SIGHT, Examples, Style
from mmcot_jax.tasks._records import Fields, Record

EVALUATOR = "grounded"
LAZY_IMAGES = True

SPLITS = ("train", "validation", "test")
SIZE = (400, 100)
"""Width and height of a picture: three fields of 100 pixels, 50 apart."""
FIELDS = (0, 150, 300)
"""Left edges of the fields."""
NAMES = ("left", "middle", "right")
COLORS = {"#0099ff": "blue", "Black": "black", "Yellow": "yellow"}
OPTIONS = {"A": "true", "B": "false"}


def split_of(sentence: str) -> str:
    """Of every ten sentences one is for the test and one for validation, with all its pictures."""
    return {0: "test", 1: "validation"}.get(zlib.crc32(sentence.encode()) % 10, "train")


def read(name: str, fields: Fields, folder: Path) -> Record:
    """A record, every object a box.

    Raises:
        ValueError: a label, colour or number of fields that NLVR does not have.
        KeyError: a field that is missing.
    """
    label, parts = str(fields["label"]).lower(), fields["structured_rep"]
    if label not in OPTIONS.values() or len(parts) != len(FIELDS):
        raise ValueError(
            f"its label is {label!r} and it has {len(parts)} fields; NLVR's are true or false, "
            f"and {len(FIELDS)}"
        )
    space = records.frame(SIZE)
    placed = [
        Box(_name(item), x, y, x + item["size"], y + item["size"], space)
        for left, items in zip(FIELDS, parts, strict=True)
        for item in sorted(items, key=lambda item: (item["x_loc"], item["y_loc"]))
        for x, y in [(left + item["x_loc"], item["y_loc"])]
    ]
    letter = next(letter for letter, text in OPTIONS.items() if text == label)
    return Record(
        id=f"nlvr/{fields['identifier']}",
        picture=records.file(folder / fields["image"]),
        size=SIZE,
        questions=(f"Is this sentence true of the picture? {fields['sentence']}",),
        options=OPTIONS,
        letters=(letter,),
        possible_answers=(label,),
        explanation=_explanation(parts),
        boxes=tuple(placed),
    )


def _name(item: Mapping[str, Any]) -> str:
    if item["color"] not in COLORS:
        raise ValueError(f"its object has the color {item['color']!r}; NLVR's are {list(COLORS)}")
    return f"{COLORS[item['color']]} {item['type']}"


def _explanation(parts: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """What is in each field, places as `[x, y, w, h]`."""
    said = []
    for name, left, items in zip(NAMES, FIELDS, parts, strict=True):
        ordered = sorted(items, key=lambda item: (item["x_loc"], item["y_loc"]))
        places = [
            f"[{left + item['x_loc']}, {item['y_loc']}, {item['size']}, {item['size']}]"
            for item in ordered
        ]
        said.append(f"The {name} field has {', '.join(places) or 'nothing'}.")
    return " ".join(said)


def stream(source: str, **options: Any) -> Iterator[Example]:
    """The examples of `load`, one after the other."""
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
    """Sentences to judge; a picture is read when its example is.

    The chain names what is in each field, not why that makes the sentence true.

    Args:
        source: the folder with `dev.jsonl`, one object a line, and the pictures it names.
        split: "train", "validation" or "test", told apart by the sentence.
        form: "options" is answered by a letter, "open" by "true" or "false".
        count: the first so many; 0 for all.
        boxes: whether prompts ask for boxes and chains note them.
        frame: "resized": coordinates in the pixels the model sees; "original": the picture's own.
        sight: how large the model sees a picture.
        on_bad_record: "raise" or "skip".

    Returns:
        Examples; `extra` has `options`, `possible_answers`, `boxes`, `space`, `solution`.

    Raises:
        ValueError: an unknown name, a source that is not there, a bad record, too few records.
    """
    style = Style(form, boxes, frame, sight).check()
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    folder = Path(source)

    def wanted(name: str, fields: Fields) -> Record | None:
        return read(name, fields, folder) if split_of(fields["sentence"]) == split else None

    found = records.collect(records.from_file(folder / "dev.jsonl"), wanted, on_bad_record)
    return Examples(grounded.first(found, count, split), style)
