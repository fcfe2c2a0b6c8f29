"""Visual-CoT: questions with short answers about ten sets of pictures, with boxes.

    load("data")                                   # data/scaleup/data/*.jsonl, every set
    load("data", sets=("gqa", "vsr"), on_bad_record="skip")
    load("Visual-CoT")                             # as released: metadata/*.jsonl, cot/gqa/...
    load("Visual-CoT", split="test")               # its benchmark: benchmark/*.json

Source: arXiv 2403.16999 (the questions); prompts as in the study.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmcot_jax.boxes import Box, Sight, Space
from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks import _grounded as grounded
from mmcot_jax.tasks import _images as images
from mmcot_jax.tasks import _schema as schema
from mmcot_jax.tasks import _sources as sources
from mmcot_jax.tasks._grounded import SIGHT, Examples, Style
from mmcot_jax.tasks._records import MAX_BAD, UNKNOWN, Gate, Record
from mmcot_jax.tasks._schema import BadRecord
from mmcot_jax.tasks._sources import Fields, Raw

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
"""Set -> the folder of its pictures in the study's `scaleup/images`."""
_RELEASED = {"v7w": ("v7w", "visual7w"), "textcap": ("textcap", "textvqa", "openimages")}
"""Set -> its folders in the released `cot/`, where they are not named as the set."""
LAYOUTS = (
    ("scaleup/data", ("scaleup/images",)),
    ("metadata", (".", "images")),
    ("viscot_dataset", (".", "images")),
    (".", (".", "images")),
)
"""Folders of records and of pictures: the study's, and those of the released files."""
SCHEMA = {
    "question": schema.text,
    "answer": schema.text,
    "possible_answers": schema.optional(schema.texts, ()),
    "image": schema.text,
    "width": schema.positive,
    "height": schema.positive,
    "bboxs": schema.list_of(schema.list_of(schema.number, 4)),
}

CONVERSATION = {
    "dataset": schema.text,
    "image": schema.list_of(schema.text),
    "conversations": schema.list_of(schema.struct({"value": schema.text})),
}
"""The schema of the benchmark: the picture, again with `###[box]`; two turns about each."""
_BOX_REQUEST = " Please provide the bounding box coordinate of the region"
_MARKED = re.compile(r"###\[([-\d., ]+)\]$")


def read_conversation(name: str, fields: Fields, folders: Sequence[Path]) -> Record:
    """Reads a record of the benchmark, whose picture's size is not known yet.

    Raises:
        BadRecord: a field is absent or of another kind, or the record has no marked box.
    """
    found = schema.read(fields, CONVERSATION)
    turns = [turn["value"] for turn in found["conversations"]]
    marked = _MARKED.search(found["image"][1]) if len(found["image"]) == 2 else None
    corners = _numbers(marked[1]) if marked else ()
    if len(turns) != 4 or len(corners) != 4:
        raise BadRecord(
            f"has {len(turns)} turns and {schema.show(found['image'])} for its image; four turns "
            "and a picture with ###[x0, y0, x1, y1] are expected",
            "that is none of Visual-CoT's benchmark",
        )
    image = found["image"][0]
    images.find(folders[0], image)
    return Record(
        id=f"viscot/{found['dataset']}/{name}",
        picture=lambda: images.first(folders, image),
        size=None,
        questions=(turns[0].replace("<image>", "").partition(_BOX_REQUEST)[0].strip(),),
        possible_answers=(turns[3],),
        boxes=(Box("", *corners, UNKNOWN),),
    )


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(schema.number(float(x), "image") for x in text.split(","))
    except ValueError:
        return ()


def read(name: str, fields: Fields, roots: Sequence[Path]) -> Record:
    """Reads a record; its boxes have no labels. `roots` are the folders of all sets' pictures.

    Raises:
        BadRecord: a field is absent or of another kind.
    """
    found, part = schema.read(fields, SCHEMA), fields["dataset"]
    space = Space("original", found["width"], found["height"])
    folders = _folders(part, tuple(roots))
    images.find(folders[0], found["image"])  # a name that leads out of one leads out of all
    return Record(
        id=f"viscot/{part}/{name}",
        picture=lambda: images.first(folders, found["image"]),
        size=(space.width, space.height),
        questions=(found["question"],),
        possible_answers=found["possible_answers"] or (found["answer"],),
        boxes=tuple(Box("", *corners, space) for corners in found["bboxs"]),
    )


@functools.cache
def _folders(part: str, roots: tuple[Path, ...]) -> list[Path]:
    names = _RELEASED.get(part, (part,))
    released = [f"{cot}/{name}" for cot in ("cot", "cot_image_data") for name in names]
    return [root / folder for root in roots for folder in (ROOTS[part], *released)]


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
    max_bad: float = MAX_BAD,
    max_image_pixels: int = images.MAX_PIXELS,
) -> Examples:
    """Returns questions with a short answer; a picture is read when its example is used.

    Args:
        source: the folder with `scaleup/data/*.jsonl` and `scaleup/images/`, or that of the
            released files: `*.jsonl` in it or in `metadata/`, and `cot/` or `cot_image_data/`.
        split: "train", "validation" (kept from train) or "test" (the benchmark, released only).
        sets: names out of `ROOTS`; records of other sets are left out.
        form: "open": a chain with boxes and an answer; "plain": the answer alone.
        validation_count, count: as `_grounded.select`.
        frame, sight: as `_grounded.Style`.
        on_bad_record, max_bad, max_image_pixels: as `_records.Gate`.
            The study skipped what has no picture.

    Returns:
        Examples; `extra` is as `_grounded.example`, and `kind` is the set.

    Raises:
        ValueError: an unknown name, a source that does not exist, a bad record, too few records.
    """
    style = Style(form, True, frame, sight).check()
    if form == "options":
        raise ValueError("Visual-CoT has no options; form is 'open' or 'plain'")
    check_choice("split", split, ("train", "validation", "test"))
    for name in sets:
        check_choice("a set", name, ROOTS)
    gate = Gate(on_bad_record, max_bad, max_image_pixels)
    files, roots = _benchmark(Path(source)) if split == "test" else _layout(Path(source))
    read_record = read_conversation if split == "test" else read

    def read_row(row: Raw) -> Record | None:
        used = schema.read(row.fields, {"dataset": schema.text})["dataset"] in sets
        return read_record(row.name, row.fields, roots) if used else None

    rows = (
        row._replace(name=f"{file.stem}/{row.name}")
        for file in files
        for row in sources.from_file(file)
    )
    found = grounded.collect(rows, read_row, style, gate, _part)
    found = grounded.select(found, split=split, count=count, validation_count=validation_count)
    return Examples(found, style, lambda record: {"kind": record.id.split("/")[1]})


def _part(fields: Fields) -> str:
    """Returns the set of a record, "" where that is not readable."""
    part = fields.get("dataset")
    return part if isinstance(part, str) and part in ROOTS else ""


def _layout(source: Path) -> tuple[list[Path], list[Path]]:
    """Returns the files of records, and the folders of all sets' pictures."""
    for records, folders in LAYOUTS:
        if files := sorted((source / records).glob("*.jsonl")):
            return files, [source / folder for folder in folders]
    raise ValueError(
        f"no records: {source / 'scaleup/data'} has no .jsonl, nor has {source} or its metadata; "
        "give the folder above"
    )


def _benchmark(source: Path) -> tuple[list[Path], list[Path]]:
    """Returns the files of the benchmark's records, and the folders above `cot/`."""
    if files := sorted((source / "benchmark").glob("*.json")):
        return files, [source, source / "images"]
    raise ValueError(
        f"no records: {source / 'benchmark'} has no .json; give the folder of the release"
    )
