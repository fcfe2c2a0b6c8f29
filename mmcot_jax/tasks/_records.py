"""Records of pictured questions: where they lie, what may be wrong, how a picture is read.

A source is the folder of the study's layout, a folder that `datasets` saved, or the name of a
dataset that it can load.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mmcot_jax.boxes import Box, Space

Fields = Mapping[str, Any]
"""One record as its file has it."""
ON_BAD = ("raise", "skip")
THINNEST = 28
"""Pixels a picture has at least each way: a thinner one is less than what one placeholder sees."""


class Record(NamedTuple):
    """One question about a picture, not read yet."""

    id: str
    picture: Callable[[], Image.Image]
    size: tuple[int, int] | None
    """Width and height in pixels, where the record gives them."""
    questions: tuple[str, ...]
    """One, or two that share the options."""
    options: Mapping[str, str] = {}
    """Letter -> text; none where the answer is free."""
    letters: tuple[str, ...] = ()
    """The right options."""
    possible_answers: tuple[str, ...] = ()
    """Every short answer that is right, the best first."""
    explanation: str = ""
    """Words with places, `[x, y, w, h]` in pixels of the picture."""
    boxes: tuple[Box, ...] = ()
    """The places, in pixels of the picture."""


# ---- where records lie ---------------------------------------------------------------------------


def from_file(path: Path) -> Iterator[tuple[str, Fields]]:
    """Records with their names, of a JSON object, a JSON list, or JSON lines (`.jsonl`).

    Raises:
        ValueError: no such file, or none of these.
    """
    if not path.is_file():
        raise ValueError(f"no records: {path} is not there; give the folder that holds it")
    try:
        if path.suffix == ".jsonl":
            found: Any = [json.loads(line) for line in path.read_text().splitlines() if line]
        else:
            found = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); give it as it was released") from None
    named = (
        found.items() if isinstance(found, dict) else ((f"{n:05}", r) for n, r in enumerate(found))
    )
    for name, record in named:
        if not isinstance(record, dict):
            raise ValueError(f"{path}: record {name} is a {type(record).__name__}, not an object")
        yield name, record


def from_datasets(source: str, split: str) -> Any:
    """A split of a saved dataset, or of one `datasets` loads by name.

    Raises:
        ValueError: there is none; says what was tried.
    """
    import datasets  # seconds to import, and only needed here

    try:
        if Path(source).is_dir():
            found = datasets.load_from_disk(source)
            return found[split] if isinstance(found, datasets.DatasetDict) else found
        return datasets.load_dataset(source, split=split)
    except Exception as error:  # of many kinds: no network, no such name, no such split
        first = str(error).strip().splitlines()[:1]
        raise ValueError(
            f"no records: {source!r} is no folder of them and datasets cannot give its split "
            f"{split!r} ({type(error).__name__}: {' '.join(first)})"
        ) from None


def table(
    source: str, file: str, split: str
) -> tuple[Iterable[tuple[str, Fields]], Callable[[str, Fields], Callable[[], Image.Image]] | None]:
    """A split's records, and where to get a record's picture if the source holds it itself.

    Raises:
        ValueError: as `from_file` and `from_datasets`.
    """
    folder = Path(source)
    saved = folder.is_dir() and any(folder.glob("dataset_*.json"))
    if not saved and (folder.is_dir() or folder.is_absolute()):
        return from_file(folder / file), None
    found = from_datasets(source, split)
    if "image" not in found.column_names:
        raise ValueError(f"{source!r} has no column image; it has {', '.join(found.column_names)}")
    words = found.remove_columns("image")

    def picture(name: str, _: Fields) -> Callable[[], Image.Image]:
        return lambda: found[int(name)]["image"]

    return ((f"{n:05}", record) for n, record in enumerate(words)), picture


# ---- what may be wrong ---------------------------------------------------------------------------


def collect(
    raw: Iterable[tuple[str, Fields]],
    read: Callable[[str, Fields], Record | None],
    on_bad_record: str,
) -> list[Record]:
    """The records `read` makes; those it gives None for are not wanted.

    "raise" stops at a bad record, and at a bad picture when that is read; "skip" looks at every
    picture's head now, leaves bad records out, and says which and how many.

    Raises:
        ValueError: a bad record, naming it; no record left; an unknown `on_bad_record`.
    """
    if on_bad_record not in ON_BAD:
        raise ValueError(f"on_bad_record is {on_bad_record!r}; choose {' or '.join(ON_BAD)}")
    records: list[Record] = []
    bad: list[str] = []
    for name, fields in raw:
        try:
            record = _checked(name, fields, read)
            if record and on_bad_record == "skip":
                look(record).close()
            records += [record] if record else []
        except ValueError as error:
            if on_bad_record == "raise":
                raise
            bad.append(str(error))
    if bad:
        lines = "\n  ".join(bad)
        logging.getLogger(__name__).warning("%d bad records are left out:\n  %s", len(bad), lines)
    if not records:
        raise ValueError(f"no record is left of these, {len(bad)} of them bad; look at the source")
    return records


def _checked(
    name: str, fields: Fields, read: Callable[[str, Fields], Record | None]
) -> Record | None:
    try:
        record = read(name, fields)
    except KeyError as error:
        raise ValueError(
            f"record {name!r} has no field {error}; it has {', '.join(fields)}"
        ) from None
    except ValueError as error:
        raise ValueError(f"record {name!r}: {error}") from None
    if record:
        check(record)
    return record


def check(record: Record) -> None:
    """What can be seen to be wrong without the picture.

    Raises:
        ValueError: an answer that is no option, no answer, a box that is inverted or outside.
    """
    wrong = [letter for letter in record.letters if letter not in record.options]
    if wrong or not (record.letters or record.possible_answers):
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


def look(record: Record) -> Image.Image:
    """The picture, its pixels not yet decoded.

    Raises:
        ValueError: no such file, no picture, one of another size than the record says, or one
            thinner than a patch.
    """
    try:
        image = record.picture()
    except FileNotFoundError as error:
        raise ValueError(
            f"record {record.id!r} has no picture: {error.filename} is not there; get it, or "
            "leave such records out with on_bad_record=skip"
        ) from None
    except OSError as error:  # also Pillow's own for what is no picture
        raise ValueError(f"record {record.id!r} has no readable picture: {error}") from None
    if record.size and image.size != tuple(record.size):
        raise ValueError(
            f"record {record.id!r} says its picture has {' x '.join(map(str, record.size))} "
            f"pixels and it has {' x '.join(map(str, image.size))}: boxes would be misplaced"
        )
    if min(image.size) < THINNEST or max(image.size) > 200 * min(image.size):
        raise ValueError(
            f"record {record.id!r} has a picture of {image.width} x {image.height} pixels; at "
            f"least {THINNEST} each way, and at most 200 to 1, are needed"
        )
    return image


def pixels(record: Record) -> np.ndarray:
    """The picture, uint8 [H W 3], on white where it is transparent.

    Raises:
        ValueError: as `look`, or pixels that cannot be decoded.
    """
    image = look(record)
    try:
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError) as error:  # Pillow's for a broken PNG
        raise ValueError(f"record {record.id!r} has no readable picture: {error}") from None


def file(path: Path) -> Callable[[], Image.Image]:
    """A picture in a file."""
    return partial(Image.open, path)


def frame(size: Sequence[int]) -> Space:
    """The picture's own pixels."""
    width, height = size
    return Space("original", width, height)
