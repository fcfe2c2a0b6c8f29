"""Visual-CoT: questions with short answers about ten sets of pictures, with boxes.

    load("data")                                   # data/scaleup/data/*.jsonl, every set
    load("data", sets=("gqa", "vsr"), on_bad_record="skip")

Source: arXiv 2403.16999 (the questions); prompts as in the study.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmcot_jax.boxes import Box, Number, Sight, Space
from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks import _grounded as grounded
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks._grounded import SIGHT, Examples, Style
from mmcot_jax.tasks._records import Fields, Record

EVALUATOR = "grounded"
LAZY_IMAGES = True
COSMETIC_OPTIONS = ()

ROOTS = {
    "gqa": "gqa/images",
    "textvqa": "textvqa/train_images",
    "v7w": "v7w/images",
    "cub": "cot/cub/CUB_200_2011",
    "docvqa": "cot/docvqa",
    "dude": "cot/dude/DUDE_train-val-test_binaries/images/train",
    "infographicsvqa": "cot/infographicsvqa",
    "sroie": "cot/sroie/0325updated.task1train(626p)",
    "vsr": "cot/vsr/images",
    "textcap": "textcap/train_images",
}
"""Set -> the folder of its pictures in `scaleup/images`."""


def read(name: str, fields: Fields, images: Path) -> Record:
    """Reads a record; its boxes have no labels.

    Raises:
        ValueError: a box does not have four numbers.
        KeyError: a field is missing.
    """
    width, height = fields["width"], fields["height"]
    space = Space("original", width, height)
    return Record(
        id=f"viscot/{fields['dataset']}/{name}",
        picture=records.image_file(images / ROOTS[fields["dataset"]] / fields["image"]),
        size=(width, height),
        questions=(fields["question"],),
        possible_answers=tuple(fields.get("possible_answers") or (fields["answer"],)),
        boxes=tuple(_box(corners, space) for corners in fields["bboxs"]),
    )


def _box(corners: Sequence[Number], space: Space) -> Box:
    if len(corners) != 4:
        raise ValueError(f"box {list(corners)} has {len(corners)} numbers; give x0, y0, x1, y1")
    return Box("", *corners, space)


def stream(source: str, **options: Any) -> Iterator[Example]:
    """Yields the examples of `load`."""
    return iter(load(source, **options))


def load(
    source: str,
    *,
    split: str = "train",
    sets: Sequence[str] = tuple(ROOTS),
    form: str = "open",
    validation_count: int = 0,
    count: int = 0,
    frame: str = "resized",
    sight: Sight = SIGHT,
    on_bad_record: str = "raise",
) -> Examples:
    """Returns questions with a short answer; a picture is read when its example is used.

    Args:
        source: the folder with `scaleup/data/*.jsonl` and `scaleup/images/`.
        split: "train" or "validation" (kept from train).
        sets: names out of `ROOTS`; records of other sets are left out.
        form: "open": a chain with boxes and an answer; "plain": the answer alone.
        validation_count, count: as `_grounded.select`.
        frame, sight: as `_grounded.Style`.
        on_bad_record: "raise" or "skip"; the study skipped what has no picture.

    Returns:
        Examples; `extra` is as `_grounded.example`, and `kind` is the set.

    Raises:
        ValueError: an unknown name, a source that does not exist, a bad record, too few records.
    """
    style = Style(form, True, frame, sight).check()
    if form == "options":
        raise ValueError("Visual-CoT has no options; form is 'open' or 'plain'")
    check_choice("split", split, ("train", "validation"))
    for name in sets:
        check_choice("a set", name, ROOTS)
    folder = Path(source) / "scaleup"
    files = sorted((folder / "data").glob("*.jsonl"))
    if not files:
        raise ValueError(f"no records: {folder / 'data'} has no .jsonl; give the folder above")

    def read_row(name: str, fields: Fields) -> Record | None:
        return read(name, fields, folder / "images") if fields["dataset"] in sets else None

    rows = ((f"{file.stem}/{n}", row) for file in files for n, row in records.from_file(file))
    found = records.collect(rows, read_row, on_bad_record)
    found = grounded.select(found, split=split, count=count, validation_count=validation_count)
    return Examples(found, style, lambda record: {"kind": record.id.split("/")[1]})
