"""DrivingVQA: questions of driving theory exams, each with a photograph and its entities.

    load("data", split="train")                  # data/DrivingVQA/train.json, data/images/...
    load("data", split="test", frame="original", wording="original")     # the study's numbers

Source: arXiv 2501.04671 (the questions); prompts and targets as in the study.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmcot_jax.boxes import Sight
from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks import _grounded as grounded
from mmcot_jax.tasks import _images as images
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks import _schema as schema
from mmcot_jax.tasks import _sources as sources
from mmcot_jax.tasks._grounded import SIGHT, Examples, Style
from mmcot_jax.tasks._records import MAX_BAD, Gate, Record
from mmcot_jax.tasks._sources import Fields, Raw

EVALUATOR = "grounded"
LAZY_IMAGES = True
COSMETIC_OPTIONS = ()

SPLITS = {"train": "train", "validation": "train", "test": "test"}
"""Split -> the file of its records."""
SCHEMA = {"img_size": schema.list_of(schema.positive, 2), "has_multiple_questions": schema.flag}
"""The fields that decide whether a record is used, beside the study's."""
MAX_PIXELS = 1920**2
"""Larger pictures are left out, as in the study: 363 of 2248 in training, 102 of 576 in test."""


def _image(fields: Fields, folder: Path) -> images.Source:
    return images.find(folder, schema.read(fields, {"img_filename": schema.text})["img_filename"])


def stream(source: str, **options: Any) -> Iterator[Example]:
    """Yields the examples of `load`."""
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
    max_bad: float = MAX_BAD,
    max_image_pixels: int = images.MAX_PIXELS,
) -> Examples:
    """Returns questions with several right options; a picture is read when its example is used.

    Args:
        source: the folder with `DrivingVQA/` and `images/`, a folder that `datasets` saved, or
            the name of a dataset.
        split: "train", "validation" (kept from train) or "test".
        part, validation_count, count: as `_grounded.select`.
        boxes, frame, sight, wording: as `_grounded.Style`.
        two_questions: keeps records with two questions.
        on_bad_record, max_bad, max_image_pixels: as `_records.Gate`.

    Returns:
        Examples; `extra` is as `_grounded.example`.

    Raises:
        ValueError: an unknown name, a source that does not exist, a bad record, too few records.
    """
    style = Style("options", boxes, frame, sight, wording).check()
    check_choice("split", split, SPLITS)
    file = SPLITS[split]
    gate = Gate(on_bad_record, max_bad, max_image_pixels)
    rows = sources.load_split(source, f"DrivingVQA/{file}.json", file)

    def read_row(row: Raw) -> Record | None:
        fields = schema.read(row.fields, SCHEMA)
        width, height = fields["img_size"]
        two = fields["has_multiple_questions"]
        if (two and not two_questions) or width * height > MAX_PIXELS:
            return None
        picture = row.picture or sources.at(_image(row.fields, Path(source)))
        return records.read_study(f"drivingvqa/{row.name}", row.fields, picture)

    found = grounded.collect(rows, read_row, style, gate)
    found = grounded.select(
        found, split=split, count=count, part=part, validation_count=validation_count
    )
    return Examples(found, style)
