"""A-OKVQA: questions about photographs that need knowledge of the world.

    load("data", split="train")                    # data/aokvqa/train.json, the study's schema
    load("data", split="test")                     # data/aokvqa/val.json, the official list
    load("HuggingFaceM4/A-OKVQA", split="train")   # official records, rationales without boxes

Source: arXiv 2206.01718 (the questions); prompts and targets as in the study.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmcot_jax.answers.letter import LETTERS
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
from mmcot_jax.tasks._schema import BadRecord
from mmcot_jax.tasks._sources import Fields, Picture, Raw

EVALUATOR = "grounded"
LAZY_IMAGES = True
COSMETIC_OPTIONS = ()

SPLITS = {"train": "train", "validation": "train", "test": "val"}
"""Split -> its file. The official test has no public answers; its validation is the test here."""
_DATASET_SPLITS = {"train": "train", "val": "validation"}
OFFICIAL = {
    "question": schema.text,
    "choices": schema.texts,
    "correct_choice_idx": schema.whole,
    "question_id": schema.optional(schema.text_or_number),
    "rationales": schema.optional(schema.list_of(schema.string), []),
}
"""The schema of official records; those of files also have an `image_id`."""


def read(name: str, fields: Fields, picture: Picture, training: bool) -> Record:
    """Reads a record of the study's schema, or of the official one.

    The explanation of an official record for `training` is its first rationale.

    Raises:
        BadRecord: a field is absent or of another kind, or the right answer is no option.
    """
    if not _is_official(fields):
        return records.read_study(f"aokvqa/{name}", fields, picture)
    found = schema.read(fields, OFFICIAL)
    options = dict(zip(LETTERS, found["choices"], strict=False))
    number = found["correct_choice_idx"]
    if number >= len(options):
        raise BadRecord(
            f"has the correct_choice_idx {number} of {len(options)} choices; give the index of one",
            "whose correct_choice_idx is no choice",
        )
    return Record(
        id=f"aokvqa/{found['question_id'] or name}",
        picture=picture,
        size=None,
        questions=(found["question"],),
        options=options,
        letters=(LETTERS[number],),
        possible_answers=(options[LETTERS[number]],),
        explanation=found["rationales"][0] if training and found["rationales"] else "",
    )


def _is_official(fields: Fields) -> bool:
    return fields.get("choices") is not None


def _image(fields: Fields, folder: Path) -> images.Source:
    if _is_official(fields):
        number = schema.read(fields, {"image_id": schema.whole})["image_id"]
        return folder / f"{number:012}.jpg"
    return images.find(folder, schema.read(fields, {"img_filename": schema.text})["img_filename"])


def stream(source: str, **options: Any) -> Iterator[Example]:
    """Yields the examples of `load`."""
    return iter(load(source, **options))


def load(
    source: str,
    *,
    split: str = "train",
    form: str = "options",
    part: str = "all",
    validation_count: int = 0,
    count: int = 0,
    boxes: bool = True,
    frame: str = "resized",
    sight: Sight = SIGHT,
    wording: str = "corrected",
    on_bad_record: str = "raise",
    max_bad: float = MAX_BAD,
    max_image_pixels: int = images.MAX_PIXELS,
) -> Examples:
    """Returns questions with one right option; a picture is read when its example is used.

    Args:
        source: the folder with `aokvqa/`, a folder that `datasets` saved, or a dataset's name.
        split: "train", "validation" (kept from train) or "test" (the official validation).
        form: "options": answered by a letter; "open": by the option's text.
        part, validation_count, count: as `_grounded.select`.
        boxes, frame, sight, wording: as `_grounded.Style`.
        on_bad_record, max_bad, max_image_pixels: as `_records.Gate`.

    Returns:
        Examples; `extra` is as `_grounded.example`.

    Raises:
        ValueError: an unknown name, a source that does not exist, a bad record, too few records.
    """
    style = Style(form, boxes, frame, sight, wording).check()
    check_choice("split", split, SPLITS)
    file = SPLITS[split]
    gate = Gate(on_bad_record, max_bad, max_image_pixels)
    rows = sources.load_split(source, f"aokvqa/{file}.json", _DATASET_SPLITS[file])
    folder = Path(source) / "aokvqa" / "images" / f"{file}2017"

    def read_row(row: Raw) -> Record:
        picture = row.picture or sources.at(_image(row.fields, folder))
        return read(row.name, row.fields, picture, training=split != "test")

    found = grounded.collect(rows, read_row, style, gate)
    found = grounded.select(
        found, split=split, count=count, part=part, validation_count=validation_count
    )
    return Examples(found, style)
