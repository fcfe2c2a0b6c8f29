"""Questions about pictures in the study's words: prompts, and chains of thought with boxes.

Source: the study's prompts and targets; boxes are in the frame of `Style.frame`.
"""

import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax.boxes import Box, Number, Sight, Space, convert, truncate
from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks import _images as images
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks._records import Gate, Record, T, limit, read_pixels
from mmcot_jax.tasks._sources import Fields, Raw

CHOOSE = "Select all correct answers to the following question from the available options."
EACH = " Choose at least one answer per question."
_FIRST = (
    "First think about the question in the mind using all relevant entities from the scene that "
    "are necessary to answer the question"
)
_BOXES = ", along with their bounding boxes coordinates in plain text format 'x1,y1,x2,y2 object'"
_THEN = (
    ". Then, provide with the thinking process in <think> </think> tags and then output the final "
    "answer in <answer> </answer> tags."
)

PROMPTS = tuple(f"{CHOOSE} {_FIRST}{boxes}{_THEN}" for boxes in (_BOXES, ""))
"""The constant text of prompts, with boxes and without."""

FORMS = ("options", "open", "plain")
SIGHT = Sight()
FRAMES = ("resized", "original")
WORDINGS = ("corrected", "original")


class Style(NamedTuple):
    """Options for turning records into examples, which several tasks share."""

    form: str = "options"
    """"options": letters; "open": a free answer after thinking; "plain": a free answer alone."""
    boxes: bool = True
    """True if prompts request boxes and chains contain them."""
    frame: str = "resized"
    """The pixels of coordinates: "resized" as the model sees them, or the picture's "original"."""
    sight: Sight = SIGHT
    """The size to which the model resizes a picture."""
    wording: str = "corrected"
    """"original" keeps, as the study did, boxes in the chain that no entity has, and all boxes in
    the chain of the open form even if the prompt requests none."""

    def check(self) -> "Style":
        """Returns itself; raises a `ValueError` for an unknown name."""
        check_choice("form", self.form, FORMS)
        check_choice("frame", self.frame, FRAMES)
        check_choice("wording", self.wording, WORDINGS)
        return self


class RecordText(NamedTuple):
    """The text of a record."""

    prompt: str
    target: str
    """The chain of thought and the answer."""
    answer: str
    """The content of `<answer>`."""
    boxes: tuple[Box, ...]
    """In the frame of the style, truncated to whole pixels."""


def write(record: Record, style: Style) -> RecordText:
    """Writes the prompt and the target of a record."""
    # truncated as they are written: a chain that equals the target has IoU 1
    boxes = tuple(truncate(convert(box, _space(box.space, style))) for box in record.boxes)
    best = record.possible_answers[0] if record.possible_answers else ""
    answer = ", ".join(record.letters) if style.form == "options" else best
    target = f"<answer>{answer}</answer>"
    if record.explanation and style.form != "plain":
        target = f"<think>{_chain(record, boxes, style)}</think> {target}"
    return RecordText(_prompt(record, style), target, answer, boxes)


def _space(picture: Space, style: Style) -> Space:
    return picture if style.frame == "original" else style.sight.space(picture)


def _prompt(record: Record, style: Style) -> str:
    if style.form == "plain":
        return record.questions[0]
    think = _FIRST + (_BOXES if style.boxes else "") + _THEN
    if style.form == "open":
        return f"{think}\nQuestion: {record.questions[0]}"
    letters, choose = list(record.options), CHOOSE
    if len(record.questions) == 1:
        parts = [(record.questions[0], letters)]
    else:  # two questions: the first two options belong to the first
        parts = list(zip(record.questions, (letters[:2], letters[2:]), strict=True))
        choose, think = (text.replace("question", "questions") for text in (CHOOSE, think))
        choose += EACH
    questions = "\n".join(
        f"Question: {question}\nOptions: {' '.join(f'({x}) {record.options[x]}' for x in some)}."
        for question, some in parts
    )
    return f"{choose} {questions}\n{think}"


_NUMBER = r"\d+(?:\.\d+)?"
_NUMBERS = re.compile(rf"\[\s*{_NUMBER}(?:\s*,\s*{_NUMBER})*\s*\]")
_BOX = re.compile(rf"\[\s*{_NUMBER}(?:\s*,\s*{_NUMBER}){{3}}\s*\]")


def _chain(record: Record, boxes: Sequence[Box], style: Style) -> str:
    """Returns the explanation, its boxes `[x, y, w, h]` in our notation, or without boxes."""
    text = record.explanation
    if not style.boxes and not (style.form == "open" and style.wording == "original"):
        return re.sub(r"\s{2,}", " ", _NUMBERS.sub("", text))
    notations: dict[tuple[float, ...], str] = {}
    for box, converted in zip(record.boxes, boxes, strict=True):
        notations.setdefault(_key(box.corners), converted.notation)

    def notation(found: re.Match) -> str:
        x, y, w, h = (float(number) for number in found[0].strip("[]").split(","))
        return notations.get(_key((x, y, x + w, y + h)), found[0])

    text = _BOX.sub(notation, text)
    without_unknown = _BOX.sub("", text)
    if style.wording == "original" or without_unknown == text:
        return text
    return re.sub(r"\s{2,}", " ", without_unknown)


def _key(corners: Sequence[Number]) -> tuple[float, ...]:
    return tuple(round(float(corner), 6) for corner in corners)


# ---- examples ------------------------------------------------------------------------------------


class Examples(Sequence):
    """Examples made on access, so that a picture is in memory only while it is used."""

    def __init__(
        self,
        records: Sequence[Record],
        style: Style,
        extra: Callable[[Record], Mapping[str, Any]] = lambda _: {},
    ):
        self._records, self._style, self._extra = records, style, extra

    def __len__(self) -> int:
        """Number of examples."""
        return len(self._records)

    def __getitem__(self, index: int | slice) -> "Example | Examples":
        """Returns one example and reads its picture, or a slice.

        Raises:
            ValueError: as `_records.read_pixels`.
        """
        if isinstance(index, slice):
            return Examples(self._records[index], self._style, self._extra)
        record = self._records[index]
        image = read_pixels(record) if record.picture else None
        return example(record, image, self._style, self._extra)

    def sized(self, index: int) -> Example:
        """Returns one example with a blank picture of its picture's size.

        Raises:
            ValueError: as `_records.read_size`.
        """
        record = self._records[index]
        blank = images.blank(records.read_size(record)) if record.picture else None
        return example(record, blank, self._style, self._extra)


def example(
    record: Record,
    image: np.ndarray | None,
    style: Style,
    extra: Callable[[Record], Mapping[str, Any]],
) -> Example:
    """Returns the example of a record and its picture, None for a question in words alone.

    Its `extra` has `options` (in the order of their letters), `possible_answers`, `boxes`, `space`
    (the frame of a chain's numbers, None without a picture), `solution` (the whole target), and
    those of the task.
    """
    space = None
    if image is not None:
        height, width, _ = image.shape
        space = _space(Space("original", width, height), style)
        record = records.with_size(record, width, height)
    text = write(record, style)
    return Example(
        id=record.id,
        prompt=(text.prompt,) if image is None else (image, text.prompt),
        answer=text.answer,
        rationale=(text.target,),
        extra={
            "options": tuple(record.options.values()) if style.form == "options" else (),
            "possible_answers": record.possible_answers,
            "boxes": text.boxes,
            "space": space,
            "solution": text.target,
            **record.extra,
            **extra(record),
        },
    )


def collect(
    rows: Iterable[Raw],
    read: Callable[[Raw], Record | None],
    style: Style,
    gate: Gate,
    subset: Callable[[Fields], str] = lambda _: "",
) -> list[Record]:
    """Returns the records of the rows that pass the gate: read, checked, and written in a style.

    Raises:
        ValueError: as `_records.collect`.
    """

    def read_row(row: Raw) -> Record | None:
        record = read(row)
        if record is None:
            return None
        records.check_record(record)
        write(records.with_size(record, records.MIN_SIDE, records.MIN_SIDE), style)
        return record._replace(place=row.place, max_pixels=gate.max_image_pixels)

    return records.collect(rows, read_row, gate, check=records.check_picture, subset=subset)


# ---- splits --------------------------------------------------------------------------------------

FIRST_PART = 1000
"""Records of the first part. The study used them for SFT, and the rest for GRPO."""
_SPLIT_SEED = 42


def select(
    records: Sequence[T], *, split: str, count: int, part: str = "all", validation_count: int = 0
) -> Sequence[T]:
    """Returns the first `count` records of a split and part; 0 for all.

    The test has all `records`. Otherwise, in the order of seed 42, the last `validation_count` are
    kept from training for validation; the part "first" is the first thousand, "rest" is those in
    between, and "all" is both, in the file's order.

    Raises:
        ValueError: an unknown part, or too few records for training, validation or `count`.
    """
    if split != "test":
        records = _select_part(records, split, part, validation_count)
    return limit(records, count, split)


def _select_part(records: Sequence[T], split: str, part: str, validation_count: int) -> Sequence[T]:
    if not 0 <= validation_count < len(records):
        raise ValueError(
            f"validation_count is {validation_count} of {len(records)} records; leave some for "
            "training"
        )
    order = list(range(len(records)))
    random.Random(_SPLIT_SEED).shuffle(order)
    training = order[: len(order) - validation_count]
    first, rest = training[:FIRST_PART], training[FIRST_PART:]
    parts = {"all": sorted(training), "first": first, "rest": rest}
    check_choice("part", part, parts)
    if split != "validation":
        return [records[n] for n in parts[part]]
    if not validation_count:
        raise ValueError("validation_count is 0: no record is kept from training")
    return [records[n] for n in order[len(training) :]]
