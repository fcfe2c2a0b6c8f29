"""VLMEvalKit's benchmark files: a TSV with its pictures inside, so each benchmark is one file away.

    load("MMBench_DEV_EN.tsv")         # index, image (base64), question, A, B, ..., answer, ...

A picture is base64, the `index` of a row that holds the same one, or a path in `image_path`.
Source: VLMEvalKit, arXiv 2407.11691.
"""

import ast
import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmcot_jax import textfile
from mmcot_jax.answers.letter import LETTERS
from mmcot_jax.boxes import Sight
from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks import _benchmarks as benchmarks
from mmcot_jax.tasks import _images as images
from mmcot_jax.tasks import _schema as schema
from mmcot_jax.tasks import _sources as sources
from mmcot_jax.tasks._benchmarks import SHORT, Options
from mmcot_jax.tasks._grounded import SIGHT, Examples
from mmcot_jax.tasks._records import MAX_BAD, Record
from mmcot_jax.tasks._schema import BadRecord
from mmcot_jax.tasks._sources import Picture, Raw

EVALUATOR = "exact_match"
LAZY_IMAGES = True
COSMETIC_OPTIONS = ()

LETTER = "\nAnswer with the option's letter from the given choices directly."
LONGEST_INDEX = 64
"""VLMEvalKit reads an `image` of at most so many characters as the index of another row."""
GROUPS = ("category", "l2-category", "split")
SCHEMA = {
    "index": schema.text,
    "question": schema.text,
    "answer": schema.text,
    "hint": schema.optional(schema.string, ""),
}


def stream(source: str, **options: Any) -> Iterator[Example]:
    """Yields the examples of `load`."""
    return iter(load(source, **options))


def load(
    source: str,
    *,
    split: str = "test",
    form: str = "open",
    boxes: bool = True,
    frame: str = "resized",
    sight: Sight = SIGHT,
    count: int = 0,
    on_bad_record: str = "raise",
    max_bad: float = MAX_BAD,
    max_image_pixels: int = images.MAX_PIXELS,
) -> Examples:
    """Returns a benchmark's questions, answered by letters or short texts.

    Args:
        source: the TSV file.
        split: "test", there is no other.
        form: "open": a chain and an answer in tags; "plain": the answer alone.
        boxes, frame, sight, count, on_bad_record, max_bad, max_image_pixels: as
            `_benchmarks.Options`.

    Returns:
        Examples; `extra` is as `_grounded.example` and `_benchmarks.extra_of`, with the other
        columns of the file in `columns`.

    Raises:
        ValueError: an unknown name, no such file, a bad record, too few records.
    """
    check_choice("split", split, ("test",))
    options = Options(
        form=form, boxes=boxes, frame=frame, sight=sight, count=count,
        on_bad_record=on_bad_record, max_bad=max_bad, max_image_pixels=max_image_pixels,
    )  # fmt: skip
    options.check()
    file = Path(source)
    rows = list(_read_rows(file))
    stored = {
        row.fields.get("index", ""): row.fields["image"]
        for row in rows
        if len(row.fields.get("image", "")) > LONGEST_INDEX
    }
    read = benchmarks.unique(lambda row: _read(row, stored, file.parent))
    return benchmarks.finish(rows, read, options, split)


def _read_rows(file: Path) -> Iterator[Raw]:
    """Yields the rows of a TSV; cells that are blank count as absent.

    Raises:
        ValueError: no such file, no text, or no column `index` or `question`.
    """
    if not file.is_file():
        raise ValueError(f"no records: {file} is not there; give a TSV file of VLMEvalKit")
    with file.open(newline="", encoding="utf-8-sig") as opened:
        try:
            rows = textfile.parse_cells(opened, file, "\t")
            for row in sources.from_cells(rows, file, "\t", ("index", "question")):
                yield row._replace(name=row.fields.get("index", row.name))
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is no TSV in UTF-8: {error}") from None


def _read(row: Raw, stored: Mapping[str, str], folder: Path) -> Record:
    found = schema.read(row.fields, SCHEMA)
    options = {x: row.fields[x] for x in LETTERS if x in row.fields}
    if list(options) != list(LETTERS[: len(options)]):
        raise BadRecord(
            f"has the options {', '.join(options)}; give A, B, ... without a gap",
            "whose options have a gap",
        )
    hint = f"{found['hint'].strip()}\n" * bool(found["hint"].strip())
    letters = _letters(found["answer"], options)
    answers = (", ".join(letters),) if options else _texts(found["answer"])
    listed = "".join(f"\n{x}. {text}" for x, text in options.items())
    return Record(
        id=f"vlmevalkit/{found['index']}",
        picture=_picture(row.fields, stored, folder),
        size=None,
        questions=(hint + found["question"] + listed + (LETTER if options else SHORT),),
        options=options,
        letters=letters,
        possible_answers=answers,
        extra=benchmarks.extra_of(
            found["index"],
            "",
            answers,
            {x.replace("-", "_"): row.fields[x] for x in GROUPS if x in row.fields},
            choices=tuple(options.values()),
            letters=letters,
            columns={x: cell for x, cell in row.fields.items() if x != "image"},
        ),
    )


def _letters(answer: str, options: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the letters of the right options: "B", "BD" or "B, D"."""
    if not options:
        return ()
    letters = tuple(answer.replace(",", "").replace(" ", ""))
    if unknown := [letter for letter in letters if letter not in options]:
        raise BadRecord(
            f"has the answer {schema.show(answer)}, in which {unknown[0]!r} is none of its options "
            f"{', '.join(options)}",
            "whose answer is no option",
        )
    return letters


def _texts(answer: str) -> tuple[str, ...]:
    """Returns the right answers of a cell: a text, or a list as Python writes it."""
    if answer.startswith("["):
        try:
            listed = ast.literal_eval(answer)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return (answer,)
        if isinstance(listed, list) and listed and all(isinstance(x, str) for x in listed):
            return schema.texts(listed, "answer")
    return (answer,)


def _picture(fields: Mapping[str, str], stored: Mapping[str, str], folder: Path) -> Picture:
    image = fields.get("image")
    if image is None:
        path = schema.read(fields, {"image_path": schema.text})["image_path"]
        return sources.at(images.find(folder, path))
    if len(image) <= LONGEST_INDEX and image not in stored:
        raise BadRecord(
            f"has the image {schema.show(image)}, which is neither base64 nor the index of a row "
            "with a picture",
            "without a picture",
        )
    return _decoder(image if len(image) > LONGEST_INDEX else stored[image])


def _decoder(text: str) -> Callable[[], bytes]:
    def decode() -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise BadRecord(
                "has an image that is not one picture in base64", "whose image is no base64"
            ) from None

    return decode
