"""DrivingVQA: questions of driving theory exams, each with a photograph and noted entities.

    load("data", split="train")                  # data/DrivingVQA/train.json, data/images/...
    load("data", split="test", frame="original", wording="original")     # the study's numbers

Source: arXiv 2501.04671 (the questions); prompts and targets as in the study.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mmcot_jax.boxes import Sight, from_xywh
from mmcot_jax.example import Example
from mmcot_jax.tasks import _grounded as grounded
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks._grounded import SIGHT, Examples, Style
from mmcot_jax.tasks._records import Fields, Record

EVALUATOR = "grounded"
LAZY_IMAGES = True

SPLITS = {"train": "train", "validation": "train", "test": "test"}
"""Split -> the file its records are in."""
MOST_PIXELS = 1920**2
"""Larger pictures are left out, as in the study: 363 of 2248 to learn from, 102 of 576 to test."""


def read(name: str, fields: Fields, picture: Callable[[], Any], task: str = "drivingvqa") -> Record:
    """A record in the schema of DrivingVQA, which the study's A-OKVQA shares.

    Raises:
        ValueError: a box of other than four numbers.
        KeyError: a field that is missing.
    """
    width, height = fields["img_size"]
    space = records.frame((width, height))
    asked, right = fields["questions"], fields["true_answers"]
    entities = [next(iter(entity.items())) for entity in fields["relevant_entities"] if entity]
    letters = (right,) if isinstance(right, str) else tuple(right)
    options = {key: text for key, text in fields["possible_answers"].items() if text is not None}
    return Record(
        id=f"{task}/{name}",
        picture=picture,
        size=(width, height),
        questions=(asked,) if isinstance(asked, str) else tuple(asked),
        options=options,
        letters=letters,
        possible_answers=tuple(options[key] for key in letters if key in options),
        explanation=fields["interleaved_explanation"],
        boxes=tuple(from_xywh(label, xywh, space) for label, xywh in entities),
    )


def stream(source: str, **options: Any) -> Iterator[Example]:
    """The examples of `load`, one after the other."""
    return iter(load(source, **options))


def load(
    source: str,
    *,
    split: str = "train",
    part: str = "all",
    validation_count: int = 0,
    count: int = 0,
    boxes: bool = True,
    frame: str = "resized",
    sight: Sight = SIGHT,
    wording: str = "corrected",
    two_questions: bool = False,
    on_bad_record: str = "raise",
) -> Examples:
    """Questions with several right options; a picture is read when its example is.

    Args:
        source: the folder with `DrivingVQA/` and `images/`, a folder that `datasets` saved, or
            the name of a dataset.
        split: "train", "validation" (kept from train) or "test".
        part: of training: "all", "first" (a thousand, seed 42) or "rest".
        validation_count: records kept from training.
        count: the first so many; 0 for all.
        boxes: whether prompts ask for boxes and chains note them.
        frame: "resized": coordinates in the pixels the model sees; "original": the picture's own.
        sight: how large the model sees a picture.
        wording: "original" keeps places that no entity is known for, as the study did.
        two_questions: whether to keep records that ask two questions at once.
        on_bad_record: "raise" or "skip".

    Returns:
        Examples; `extra` has `options`, `possible_answers`, `boxes`, `space`, `solution`.

    Raises:
        ValueError: an unknown name, a source that is not there, a bad record, too few records.
    """
    style = Style("options", boxes, frame, sight, wording).check()
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    file = SPLITS[split]
    rows, inside = records.table(source, f"DrivingVQA/{file}.json", file)

    def wanted(name: str, fields: Fields) -> Record | None:
        width, height = fields["img_size"]
        if (fields["has_multiple_questions"] and not two_questions) or width * height > MOST_PIXELS:
            return None
        place = records.file(Path(source) / fields["img_filename"]) if not inside else None
        return read(name, fields, place or inside(name, fields))

    found = records.collect(rows, wanted, on_bad_record)
    if split != "test":
        part_of = partial(grounded.part_of, part=part, validation_count=validation_count)
        found = part_of(found, split=split)
    return Examples(grounded.first(found, count, split), style)
