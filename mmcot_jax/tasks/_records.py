"""Records of questions about pictures: where they are stored, how they are checked and read.

A source is a folder of the study's layout, a folder saved by `datasets`, or the name of a dataset
that `datasets` can load.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from mmcot_jax.boxes import Box, Space, from_xywh
from mmcot_jax.errors import check_choice

Fields = Mapping[str, Any]
"""One record as its file has it."""
ON_BAD_RECORD = ("raise", "skip")
MIN_SIDE = 28
"""Smallest height and width of a picture in pixels: the side of one vision token."""


class Record(NamedTuple):
    """One question about a picture that is not read yet."""

    id: str
    picture: Callable[[], Image.Image]
    size: tuple[int, int] | None
    """Width and height in pixels, if the record gives them."""
    questions: tuple[str, ...]
    """One, or two that share the options."""
    options: Mapping[str, str] = {}
    """Letter -> text; empty if the answer is free text."""
    letters: tuple[str, ...] = ()
    """The right options."""
    possible_answers: tuple[str, ...] = ()
    """The right short answers, the best first."""
    explanation: str = ""
    """Text with boxes, `[x, y, w, h]` in pixels of the picture."""
    boxes: tuple[Box, ...] = ()
    """The boxes of the explanation, in pixels of the picture."""


# ---- sources -------------------------------------------------------------------------------------


def from_file(path: Path) -> Iterator[tuple[str, Fields]]:
    """Yields the records, with their names, of a JSON object, a JSON list or JSON lines (`.jsonl`).

    Raises:
        ValueError: no such file, or none of these.
    """
    if not path.is_file():
        raise ValueError(f"no records: {path} is not there; give the folder that holds it")
    try:
        if path.suffix == ".jsonl":
            content: Any = [json.loads(line) for line in path.read_text().splitlines() if line]
        else:
            content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); give it as it was released") from None
    if not isinstance(content, dict):
        content = {f"{n:05}": record for n, record in enumerate(content)}
    for name, record in content.items():
        if not isinstance(record, dict):
            raise ValueError(f"{path}: record {name} is a {type(record).__name__}, not an object")
        yield name, record


def from_datasets(source: str, split: str) -> Any:
    """Returns a split of a saved dataset, or of one that `datasets` loads by name.

    Raises:
        ValueError: there is none; names what was tried.
    """
    import datasets  # takes seconds to import

    try:
        if not Path(source).is_dir():
            return datasets.load_dataset(source, split=split)
        saved = datasets.load_from_disk(source)
        return saved[split] if isinstance(saved, datasets.DatasetDict) else saved
    except Exception as error:  # of many kinds: no network, no such name, no such split
        first = str(error).strip().splitlines()[:1]
        raise ValueError(
            f"no records: {source!r} is no folder of them and datasets cannot give its split "
            f"{split!r} ({type(error).__name__}: {' '.join(first)})"
        ) from None


def is_saved(folder: Path) -> bool:
    """Returns whether `datasets` saved a folder."""
    return any((folder / f"dataset_{name}.json").is_file() for name in ("dict", "info"))


def load_split(
    source: str, file: str, split: str
) -> tuple[Iterable[tuple[str, Fields]], Callable[[str], Callable[[], Image.Image]] | None]:
    """Returns a split's records, and name -> picture if the source itself holds the pictures.

    Raises:
        ValueError: as `from_file` and `from_datasets`.
    """
    folder = Path(source)
    if not is_saved(folder) and (folder.is_dir() or folder.is_absolute()):
        return from_file(folder / file), None
    rows = from_datasets(source, split)
    if "image" not in rows.column_names:
        raise ValueError(f"{source!r} has no column image; it has {', '.join(rows.column_names)}")

    def picture(name: str) -> Callable[[], Image.Image]:
        return lambda: rows[int(name)]["image"]

    without_images = rows.remove_columns("image")
    return ((f"{n:05}", record) for n, record in enumerate(without_images)), picture


def read_study(id: str, fields: Fields, picture: Callable[[], Image.Image]) -> Record:
    """Reads a record in the schema that the study gave DrivingVQA and A-OKVQA.

    Raises:
        ValueError: a box does not have four numbers.
        KeyError: a field is missing.
    """
    width, height = fields["img_size"]
    space = Space("original", width, height)
    questions, right = fields["questions"], fields["true_answers"]
    entities = [next(iter(entity.items())) for entity in fields["relevant_entities"] if entity]
    letters = (right,) if isinstance(right, str) else tuple(right)
    options = {x: text for x, text in fields["possible_answers"].items() if text is not None}
    return Record(
        id=id,
        picture=picture,
        size=(width, height),
        questions=(questions,) if isinstance(questions, str) else tuple(questions),
        options=options,
        letters=letters,
        possible_answers=tuple(options[x] for x in letters if x in options),
        explanation=fields["interleaved_explanation"],
        boxes=tuple(from_xywh(label, xywh, space) for label, xywh in entities),
    )


T = TypeVar("T")


def limit(records: Sequence[T], count: int, split: str) -> Sequence[T]:
    """Returns the first `count` records; 0 for all.

    Raises:
        ValueError: there are fewer, or none.
    """
    if not 0 <= count <= len(records) or not records:
        raise ValueError(f"count {count} of {len(records)} {split} records; give 0 for all of them")
    return records[: count or None]


# ---- checks --------------------------------------------------------------------------------------


def collect(
    raw: Iterable[tuple[str, Fields]],
    read: Callable[[str, Fields], Record | None],
    on_bad_record: str,
) -> list[Record]:
    """Returns the records that `read` makes; None leaves a record out.

    "raise" stops at a bad record, and at a bad picture when it is read. "skip" opens every picture
    now, leaves bad records out, and logs which they are.

    Raises:
        ValueError: a bad record, with its name; no record is left; an unknown `on_bad_record`.
    """
    check_choice("on_bad_record", on_bad_record, ON_BAD_RECORD)
    records: list[Record] = []
    bad: list[str] = []
    for name, fields in raw:
        try:
            record = _read(name, fields, read)
            if record and on_bad_record == "skip":
                open_image(record).close()
            records += [record] if record else []
        except ValueError as error:
            if on_bad_record == "raise":
                raise
            bad.append(str(error))
    if bad:
        lines = "\n  ".join(bad)
        logging.getLogger(__name__).warning("%d bad records are left out:\n  %s", len(bad), lines)
    if not records:
        raise ValueError(f"no record is left, {len(bad)} of them are bad; check the source")
    return records


def _read(name: str, fields: Fields, read: Callable[[str, Fields], Record | None]) -> Record | None:
    try:
        record = read(name, fields)
    except KeyError as error:
        raise ValueError(
            f"record {name!r} has no field {error}; it has {', '.join(fields)}"
        ) from None
    except ValueError as error:
        raise ValueError(f"record {name!r}: {error}") from None
    if record:
        check_record(record)
    return record


def check_record(record: Record) -> None:
    """Checks a record without its picture.

    Raises:
        ValueError: an answer that is no option, no answer, a box that is inverted or outside.
    """
    unknown = [letter for letter in record.letters if letter not in record.options]
    if unknown or not (record.letters or record.possible_answers):
        raise ValueError(
            f"record {record.id!r} has the answer {list(record.letters)}, its options are "
            f"{list(record.options)}; give letters of these"
        )
    for box in record.boxes:
        x0, y0, x1, y1 = box.corners
        if x0 >= x1 or y0 >= y1:
            raise ValueError(f"record {record.id!r}: box {list(box.corners)} of {box.label!r} is "
                             "inverted or empty; the left and upper edges come first")  # fmt: skip
        # a coordinate is often rounded up at the edge
        if min(x0, y0) < -1 or x1 > box.space.width + 1 or y1 > box.space.height + 1:
            raise ValueError(
                f"record {record.id!r}: box {list(box.corners)} of {box.label!r} is outside its "
                f"picture of {box.space.width} x {box.space.height} pixels"
            )


# ---- pictures ------------------------------------------------------------------------------------


def open_image(record: Record) -> Image.Image:
    """Opens the picture without decoding its pixels.

    Raises:
        ValueError: no such file, no picture, a size that is not the record's, too thin a picture.
    """
    try:
        image = record.picture()
    except FileNotFoundError as error:
        raise ValueError(
            f"record {record.id!r} has no picture: {error.filename} is not there; get it, or "
            "leave such records out with on_bad_record=skip"
        ) from None
    except OSError as error:  # Pillow's error for a file that is no picture too
        raise ValueError(f"record {record.id!r} has no readable picture: {error}") from None
    if record.size and image.size != tuple(record.size):
        raise ValueError(
            f"record {record.id!r} gives its picture {' x '.join(map(str, record.size))} "
            f"pixels and it has {' x '.join(map(str, image.size))}: boxes would be misplaced"
        )
    if min(image.size) < MIN_SIDE or max(image.size) > 200 * min(image.size):
        raise ValueError(
            f"record {record.id!r} has a picture of {image.width} x {image.height} pixels; at "
            f"least {MIN_SIDE} each way, and at most 200 to 1, are needed"
        )
    return image


def read_pixels(record: Record) -> np.ndarray:
    """Returns the picture, uint8 [H W 3], on white where it is transparent.

    Raises:
        ValueError: as `open_image`, or pixels that cannot be decoded.
    """
    image = open_image(record)
    try:
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError) as error:  # Pillow's errors for a broken PNG
        raise ValueError(f"record {record.id!r} has no readable picture: {error}") from None


def image_file(path: Path) -> Callable[[], Image.Image]:
    """Returns a function that opens the picture of a file."""
    return partial(Image.open, path)
