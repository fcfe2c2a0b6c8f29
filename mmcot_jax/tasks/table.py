"""A table of your own: one question a row, with its answer and, if there is one, its picture.

    load("questions.csv", split="train")     # columns question, answer; picture, chain if there

The table is a CSV, TSV, JSON or JSON lines file, or a dataset that `datasets` loads: its folder or
its name. Column `image` is a path from the table's folder, or the picture itself in a dataset.
Column `chain` is the reply that SFT teaches; without it that is `<answer>ANSWER</answer>`. Every
other column is in `extra`, so that a reward receives it by its name; the results list `kind` by its
values. No column may have the name of what the judge reads, see `JUDGED`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmcot_jax import textfile
from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks import _images as images
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks import _schema as schema
from mmcot_jax.tasks import _sources as sources
from mmcot_jax.tasks._records import MAX_BAD, Gate, Record
from mmcot_jax.tasks._schema import BadRecord
from mmcot_jax.tasks._sources import Picture, Raw
from mmcot_jax.tasks._splits import SPLITS, split_of

EVALUATOR = "grounded"
LAZY_IMAGES = True
COSMETIC_OPTIONS = ()

JUDGED = ("options", "possible_answers", "boxes", "space")
"""Names in `extra` that the judge reads: no column has them."""
COLUMNS = ("question", "answer", "image", "chain", "split")


def _kind(value: Any, name: str) -> str | bool:
    """Reads a text, a number, true or false."""
    return value if isinstance(value, bool) else schema.text_or_number(value, name)


SCHEMA = {
    "question": schema.text,
    "answer": schema.text_or_number,
    "image": schema.optional(schema.text),
    "chain": schema.optional(schema.text),
    "split": schema.optional(schema.text),
    "kind": schema.optional(_kind),
}
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_FILES = (*_DELIMITERS, ".json", ".jsonl")


class Examples(Sequence[Example]):
    """Examples made on access, so that a picture is in memory only while it is used."""

    def __init__(self, rows: Sequence[Record]):
        self._rows = rows

    def __len__(self) -> int:
        """Number of examples."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        """Returns one example and reads its picture.

        Raises:
            ValueError: as `_records.read_pixels`.
        """
        row = self._rows[index]
        return _example(row, records.read_pixels(row) if row.picture else None)

    def sized(self, index: int) -> Example:
        """Returns one example with a blank picture of its picture's size.

        Raises:
            ValueError: as `_records.read_size`.
        """
        row = self._rows[index]
        return _example(row, images.blank(records.read_size(row)) if row.picture else None)


def stream(source: str, **options: Any) -> Iterator[Example]:
    """Yields the examples of `load`."""
    return iter(load(source, **options))


def load(
    source: str,
    *,
    split: str = "train",
    count: int = 0,
    on_bad_record: str = "raise",
    max_bad: float = MAX_BAD,
    max_image_pixels: int = images.MAX_PIXELS,
) -> Examples:
    """Returns the questions of a split, in the table's order.

    The column `split` of a file, or of a dataset without splits (`Dataset.from_list(rows)`, saved),
    says the split of a row. Without that column a tenth of the questions, chosen by their texts,
    are for the test, and a tenth for validation. Another dataset has splits of its own.

    Args:
        source: the file, or the folder or name of a dataset.
        split: "train", "validation" or "test"; of a dataset, a name that it has.
        count: number of questions, the first ones; 0 for all.
        on_bad_record, max_bad, max_image_pixels: as `_records.Gate`.

    Raises:
        ValueError: no such table, a missing column, a bad row, too few questions.
    """
    gate = Gate(on_bad_record, max_bad, max_image_pixels)
    if not source:
        raise ValueError(
            "data.source is empty; give your table, such as questions.csv with the columns "
            "question and answer"
        )
    path = Path(source)
    is_file = path.suffix.lower() in _FILES
    if not is_file and path.is_file():
        raise ValueError(f"{source} is no table that is read; save it as {', '.join(_FILES)}")
    if not is_file:
        source = sources.find_cached(source)
        path = Path(source)
    has_splits = not (is_file or sources.is_saved_table(path))
    if not has_splits:
        check_choice("split", split, SPLITS)

    def read(row: Raw) -> tuple[str, Record]:
        found = schema.read(row.fields, SCHEMA)
        picture = row.picture
        if is_file:
            picture = (
                sources.at(images.find(path.parent, found["image"])) if found["image"] else None
            )
        of = split if has_splits else _split(found)
        return of, _record(row, found, f"table/{of}/{row.name}", picture, max_image_pixels)

    def check(found: tuple[str, Record]) -> tuple[str, Record]:
        return found[0], records.check_picture(found[1])

    found = records.collect(_rows(source, split, is_file), read, gate, check=check)
    rows = [record for of, record in found if of == split]
    if not rows:
        raise ValueError(
            f"{source} has {len(found)} questions and none for {split}: add a column split with "
            f"{split} in some rows, or more rows, of which a tenth are for {split}"
        )
    return Examples(records.limit(rows, count, split))


def _rows(source: str, split: str, is_file: bool) -> Iterator[Raw]:
    path = Path(source)
    if not is_file:
        yield from sources.rows_of(sources.from_datasets(source, split), source)
    elif delimiter := _DELIMITERS.get(path.suffix.lower()):
        rows = textfile.read_cells(path, delimiter)
        yield from sources.from_cells(rows, path, delimiter, ("question", "answer"))
    else:
        yield from sources.from_file(path, path.suffix.lower() == ".jsonl")


def _split(found: Mapping[str, Any]) -> str:
    of = found["split"] or split_of(found["question"])
    if of not in SPLITS:
        raise BadRecord(
            f"has the split {schema.show(of)}; choose from {', '.join(SPLITS)}",
            "with an unknown split",
        )
    return of


def _record(
    row: Raw, found: Mapping[str, Any], id: str, picture: Picture | None, max_pixels: int
) -> Record:
    """Returns the record of a row, of which `found` are the columns that this task reads."""
    if taken := [name for name in JUDGED if row.fields.get(name) is not None]:
        raise BadRecord(
            f"has the column {taken[0]}, a name of what the judge reads; rename it",
            f"with the column {taken[0]}",
        )
    if picture is None and row.fields.get("images") is not None:
        raise BadRecord(
            "has the column images and no image; a question has one picture, in the column image",
            "with the column images",
        )
    records.check_answers((found["answer"],))
    return Record(
        id=id,
        picture=picture,
        size=None,
        questions=(found["question"],),
        possible_answers=(found["answer"],),
        explanation=found["chain"] or f"<answer>{found['answer']}</answer>",
        place=row.place,
        max_pixels=max_pixels,
        extra={name: value for name, value in row.fields.items() if name not in COLUMNS},
    )


def _example(row: Record, pixels: np.ndarray | None) -> Example:
    """Returns the example of a row; `extra` has its other columns, and what the judge reads."""
    (question,), answers = row.questions, row.possible_answers
    return Example(
        id=row.id,
        prompt=(question,) if pixels is None else (pixels, question),
        answer=answers[0],
        rationale=(row.explanation,),
        extra={
            "solution": row.explanation,
            **row.extra,
            "options": (),
            "possible_answers": answers,
            "boxes": (),
            "space": None,
        },
    )
