"""A-OKVQA: questions about photographs that need knowledge of the world.

    load("data", split="train")                    # data/aokvqa/train.json, the study's schema
    load("data", split="test")                     # data/aokvqa/val.json, the official list
    load("HuggingFaceM4/A-OKVQA", split="train")   # official records, rationales without boxes

Source: arXiv 2206.01718 (the questions); prompts and targets as in the study.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmcot_jax.answers.letter import LETTERS
from mmcot_jax.boxes import Sight
from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks import _grounded as grounded
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks._grounded import SIGHT, Examples, Style
from mmcot_jax.tasks._records import Fields, Record

EVALUATOR = "grounded"
LAZY_IMAGES = True
COSMETIC_OPTIONS = ()

SPLITS = {"train": "train", "validation": "train", "test": "val"}
"""Split -> its file. The official test has no public answers; its validation is the test here."""
_DATASET_SPLITS = {"train": "train", "val": "validation"}


def read(name: str, fields: Fields, picture: Callable[[], Any], training: bool) -> Record:
    """Reads a record of the study's schema, or of the official one.

    The explanation of an official record for `training` is its first rationale.

    Raises:
        ValueError: the right answer is no option.
        KeyError: a field is missing.
    """
    if "choices" not in fields:
        return records.read_study(f"aokvqa/{name}", fields, picture)
    options = dict(zip(LETTERS, fields["choices"], strict=False))
    number = fields["correct_choice_idx"]
    if not isinstance(number, int) or not 0 <= number < len(options):
        raise ValueError(
            f"correct_choice_idx is {number!r} of {len(options)} choices; give the index of one"
        )
    rationales = fields.get("rationales") or ()
    return Record(
        id=f"aokvqa/{fields.get('question_id', name)}",
        picture=picture,
        size=None,
        questions=(fields["question"],),
        options=options,
        letters=(LETTERS[number],),
        possible_answers=(options[LETTERS[number]],),
        explanation=rationales[0] if training and rationales else "",
    )


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
) -> Examples:
    """Returns questions with one right option; a picture is read when its example is used.

    Args:
        source: the folder with `aokvqa/`, a folder that `datasets` saved, or a dataset's name.
        split: "train", "validation" (kept from train) or "test" (the official validation).
        form: "options": answered by a letter; "open": by the option's text.
        part, validation_count, count: as `_grounded.select`.
        boxes, frame, sight, wording: as `_grounded.Style`.
        on_bad_record: "raise" or "skip".

    Returns:
        Examples; `extra` is as `_grounded.example`.

    Raises:
        ValueError: an unknown name, a source that does not exist, a bad record, too few records.
    """
    style = Style(form, boxes, frame, sight, wording).check()
    check_choice("split", split, SPLITS)
    file = SPLITS[split]
    rows, picture = records.load_split(source, f"aokvqa/{file}.json", _DATASET_SPLITS[file])
    images = Path(source) / "aokvqa" / "images" / f"{file}2017"

    def read_row(name: str, fields: Fields) -> Record:
        if picture:
            return read(name, fields, picture(name), training=split != "test")
        official = "choices" in fields
        image = f"{fields['image_id']:012}.jpg" if official else fields["img_filename"]
        return read(name, fields, records.image_file(images / image), training=split != "test")

    found = records.collect(rows, read_row, on_bad_record)
    found = grounded.select(
        found, split=split, count=count, part=part, validation_count=validation_count
    )
    return Examples(found, style)
