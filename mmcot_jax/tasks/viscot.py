"""Visual-CoT: short answers about ten kinds of pictures, with the places that show them.

    load("data")                                   # data/scaleup/data/*.jsonl, every set
    load("data", sets=("gqa", "vsr"), on_bad_record="skip")

Source: arXiv 2403.16999 (the questions); prompts as in the study.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmcot_jax.boxes import Box, Number, Sight, Space
from mmcot_jax.example import Example
from mmcot_jax.tasks import _grounded as grounded
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks._grounded import SIGHT, Examples, Style
from mmcot_jax.tasks._records import Fields, Record

EVALUATOR = "grounded"
LAZY_IMAGES = True

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
"""Set -> the folder of its pictures, within `scaleup/images`."""


def read(name: str, fields: Fields, images: Path) -> Record:
    """A record; its places have no names.

    Raises:
        ValueError: a box of other than four numbers.
        KeyError: a field that is missing.
    """
    width, height = fields["width"], fields["height"]
    space = records.frame((width, height))
    return Record(
        id=f"viscot/{fields['dataset']}/{name}",
        picture=records.file(images / ROOTS[fields["dataset"]] / fields["image"]),
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
    """The examples of `load`, one after the other."""
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
    """Questions with a short answer; a picture is read when its example is.

    Args:
        source: the folder with `scaleup/data/*.jsonl` and `scaleup/images/`.
        split: "train" or "validation" (kept from train); tests are other data.
        sets: names out of `ROOTS`; records of other sets in the files are passed over.
        form: "open" asks for a chain with boxes, "plain" for the answer alone.
        validation_count: records kept from training.
        count: the first so many; 0 for all.
        frame: "resized": coordinates in the pixels the model sees; "original": the picture's own.
        sight: how large the model sees a picture.
        on_bad_record: "raise" or "skip"; the study skipped what has no picture.

    Returns:
        Examples; `extra` has `kind` (the set), `possible_answers`, `boxes`, `space`, `solution`.

    Raises:
        ValueError: an unknown name, a source that is not there, a bad record, too few records.
    """
    style = Style(form, True, frame, sight).check()
    if form == "options":
        raise ValueError("Visual-CoT has no options; form is 'open' or 'plain'")
    if split not in ("train", "validation"):
        raise ValueError(f"unknown split {split!r}; choose train or validation")
    for name in sets:
        if name not in ROOTS:
            raise ValueError(f"unknown set {name!r}; choose from {', '.join(ROOTS)}")
    folder = Path(source) / "scaleup"
    files = sorted((folder / "data").glob("*.jsonl"))
    if not files:
        raise ValueError(f"no records: {folder / 'data'} has no .jsonl; give the folder above")

    def wanted(name: str, fields: Fields) -> Record | None:
        return read(name, fields, folder / "images") if fields["dataset"] in sets else None

    rows = ((f"{file.stem}/{n}", row) for file in files for n, row in records.from_file(file))
    found = grounded.part_of(
        records.collect(rows, wanted, on_bad_record),
        split=split,
        part="all",
        validation_count=validation_count,
    )
    return Examples(grounded.first(found, count, split), style, kind)


def kind(record: Record) -> dict[str, str]:
    """The set a record is of."""
    return {"kind": record.id.split("/")[1]}
