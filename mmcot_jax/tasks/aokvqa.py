"""A-OKVQA: questions about everyday photographs that need knowledge of the world.

    load("data", split="train")                    # data/aokvqa/train.json, the study's schema
    load("data", split="test")                     # data/aokvqa/val.json, the official list
    load("HuggingFaceM4/A-OKVQA", split="train")   # official records, rationales without boxes

Source: arXiv 2206.01718 (the questions); prompts and targets as in the study.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mmcot_jax.boxes import Sight
from mmcot_jax.example import Example
from mmcot_jax.tasks import _grounded as grounded
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks import drivingvqa
from mmcot_jax.tasks._grounded import SIGHT, Examples, Style
from mmcot_jax.tasks._records import Fields, Record

EVALUATOR = "grounded"
LAZY_IMAGES = True

SPLITS = {"train": "train", "validation": "train", "test": "val"}
"""Split -> its file: the official test's answers are not public, the validation's are."""
_NAMED = {"train": "train", "val": "validation"}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def read(name: str, fields: Fields, picture: Callable[[], Any], learnt: bool) -> Record:
    """A record of the study's schema, or of the official one.

    Of an official record that is `learnt`, the first rationale is the chain.

    Raises:
        ValueError: a right answer that is no option.
        KeyError: a field that is missing.
    """
    if "choices" not in fields:
        return drivingvqa.read(name, fields, picture, task="aokvqa")
    options = dict(zip(LETTERS, fields["choices"], strict=False))
    number = fields["correct_choice_idx"]
    if not isinstance(number, int) or not 0 <= number < len(options):
        raise ValueError(
            f"correct_choice_idx is {number!r} of {len(options)} choices; give the place of one"
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
        explanation=rationales[0] if learnt and rationales else "",
    )


def stream(source: str, **options: Any) -> Iterator[Example]:
    """The examples of `load`, one after the other."""
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
    """Questions with one right option; a picture is read when its example is.

    Args:
        source: the folder with `aokvqa/`, a folder that `datasets` saved, or a dataset's name.
        split: "train", "validation" (kept from train) or "test" (the official validation).
        form: "options" is answered by a letter, "open" by the option's words.
        part: of training: "all", "first" (a thousand, seed 42) or "rest".
        validation_count: records kept from training.
        count: the first so many; 0 for all.
        boxes: whether prompts ask for boxes and chains note them.
        frame: "resized": coordinates in the pixels the model sees; "original": the picture's own.
        sight: how large the model sees a picture.
        wording: "original" keeps places that no entity is known for, and in the open form all of
            them even without `boxes`, as the study did.
        on_bad_record: "raise" or "skip".

    Returns:
        Examples; `extra` has `options`, `possible_answers`, `boxes`, `space`, `solution`.

    Raises:
        ValueError: an unknown name, a source that is not there, a bad record, too few records.
    """
    style = Style(form, boxes, frame, sight, wording).check()
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    file = SPLITS[split]
    rows, inside = records.table(source, f"aokvqa/{file}.json", _NAMED[file])
    images = Path(source) / "aokvqa" / "images" / f"{file}2017"

    def wanted(name: str, fields: Fields) -> Record:
        if inside:
            return read(name, fields, inside(name, fields), learnt=split != "test")
        official = "choices" in fields
        image = f"{fields['image_id']:012}.jpg" if official else fields["img_filename"]
        return read(name, fields, records.file(images / image), learnt=split != "test")

    found = records.collect(rows, wanted, on_bad_record)
    if split != "test":
        part_of = partial(grounded.part_of, part=part, validation_count=validation_count)
        found = part_of(found, split=split)
    return Examples(grounded.first(found, count, split), style)
