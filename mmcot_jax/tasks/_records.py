"""Records of questions about pictures, and the gate that every record of every task passes."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from mmcot_jax import threads
from mmcot_jax.answers.letter import LETTERS
from mmcot_jax.answers.think_answer import normalize
from mmcot_jax.boxes import Box, Space, from_xywh
from mmcot_jax.errors import check_choice
from mmcot_jax.tasks import _images as images
from mmcot_jax.tasks import _schema as schema
from mmcot_jax.tasks._schema import BadRecord
from mmcot_jax.tasks._sources import Fields, Picture, Raw

ON_BAD_RECORD = ("raise", "skip")
MAX_BAD = 0.05
"""Default of the largest share of a set's records that "skip" leaves out."""
MIN_SIDE = 28
"""Smallest height and width of a picture in pixels: the side of one vision token."""
UNKNOWN = Space("original", 0, 0)
"""The frame of boxes whose record does not give its picture's size, see `with_size`."""
T = TypeVar("T")
U = TypeVar("U")


class Record(NamedTuple):
    """One question about a picture that is not read yet."""

    id: str
    picture: Picture | None
    """None for a question in words alone."""
    size: tuple[int, int] | None
    """Width and height in pixels of the displayed picture, if the record gives them."""
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
    place: str = ""
    """The file of the record, and its line there."""
    max_pixels: int = images.MAX_PIXELS
    """The largest picture that is decoded."""
    checked: bool = False
    """True once the picture was decoded to its end; then `size` is its own."""
    extra: Mapping[str, Any] = {}
    """Fields of the example's `extra` that the task adds."""


STUDY = {
    "img_size": schema.list_of(schema.positive, 2),
    "questions": schema.texts,
    "possible_answers": schema.mapping_of(schema.text),
    "true_answers": schema.texts,
    "relevant_entities": schema.list_of(schema.mapping_of(schema.list_of(schema.number, 4))),
    "interleaved_explanation": schema.string,
}
"""The schema that the study gave DrivingVQA and A-OKVQA."""


def read_study(id: str, fields: Fields, picture: Picture) -> Record:
    """Reads a record of the schema `STUDY`.

    Raises:
        BadRecord: a field is absent or of another kind.
    """
    found = schema.read(fields, STUDY)
    width, height = found["img_size"]
    space = Space("original", width, height)
    # an entity is one name and its box; of several the first counts, as in the study
    entities = [next(iter(entity.items())) for entity in found["relevant_entities"] if entity]
    options, letters = found["possible_answers"], found["true_answers"]
    if len(found["questions"]) > 2:
        raise BadRecord(f"has {len(found['questions'])} questions; one or two are expected")
    return Record(
        id=id,
        picture=picture,
        size=(width, height),
        questions=found["questions"],
        options=options,
        letters=letters,
        possible_answers=tuple(options[x] for x in letters if x in options),
        explanation=found["interleaved_explanation"],
        boxes=tuple(from_xywh(label, xywh, space) for label, xywh in entities),
    )


def limit(records: Sequence[T], count: int, split: str) -> Sequence[T]:
    """Returns the first `count` records; 0 for all.

    Raises:
        ValueError: there are fewer, or none.
    """
    if not records:
        raise ValueError(f"the {split} split has no record; give data that has some")
    if not 0 <= count <= len(records):
        raise ValueError(f"count {count} of {len(records)} {split} records; give 0 for all of them")
    return records[: count or None]


# ---- the gate ------------------------------------------------------------------------------------


class Gate(NamedTuple):
    """Options for bad records, which all tasks share."""

    on_bad_record: str = "raise"
    """"raise" stops at a bad record, and at a bad picture when it is first used; "skip" decodes
    every picture at once and leaves bad records out."""
    max_bad: float = MAX_BAD
    """Share of a set's records, 0..1, of which "skip" may leave out no more."""
    max_image_pixels: int = images.MAX_PIXELS
    """Pictures of more pixels are bad."""

    def check(self) -> "Gate":
        """Returns itself; raises a `ValueError` for an unknown name or a number out of range."""
        check_choice("on_bad_record", self.on_bad_record, ON_BAD_RECORD)
        if not 0 <= self.max_bad <= 1:
            raise ValueError(f"data.max_bad is {self.max_bad}; give a share from 0 to 1")
        images.check_max_pixels(self.max_image_pixels)
        return self


RAISE = Gate()
"""The default: stops at a bad record."""


class _Origin(NamedTuple):
    """The part of its set that a record belongs to, its name, and its file and line."""

    subset: str
    name: str
    place: str


class _Loss(NamedTuple):
    """A record that is left out."""

    subset: str
    reason: str
    message: str


def collect(
    rows: Iterable[Raw],
    read: Callable[[Raw], T | None],
    gate: Gate,
    *,
    check: Callable[[T], T] = lambda found: found,
    subset: Callable[[Fields], str] = lambda _: "",
) -> list[T]:
    """Returns what `read` makes of the rows that pass; None leaves a row out and is no fault.

    Args:
        rows: the records of a set.
        read: reads a row; raises `BadRecord`.
        gate: what becomes of bad records.
        check: returns what was read with its pictures checked, in threads; raises `BadRecord`. It
            is called with "skip" only: with "raise" a picture is checked when it is first used.
        subset: names the part of the set that a row belongs to; no part may be lost whole.

    Raises:
        ValueError: a bad record, with its name and file; none is left; "skip" would leave out all
            of a part, or a larger share than `gate.max_bad`.
    """
    skip = gate.check().on_bad_record == "skip"
    kept: list[tuple[_Origin, T]] = []  # not the rows: their fields would double the memory
    losses: list[_Loss] = []
    sound = _read_sound(read)

    def check_one(index: int) -> tuple[_Origin, T] | _Loss:
        origin, found = kept[index]
        checked = _attempt(origin, check, found)
        return checked if isinstance(checked, _Loss) else (origin, checked)

    for row in rows:
        origin = _Origin("" if row.fault else subset(row.fields), row.name, row.place)
        found = _attempt(origin, sound, row)
        if isinstance(found, _Loss):
            if not skip:
                raise BadRecord(found.message)
            losses.append(found)
        elif found is not None:
            kept.append((origin, found))
    if skip:
        checked = threads.map_indices(check_one, len(kept))
        losses += [loss for loss in checked if isinstance(loss, _Loss)]
        kept = [found for found in checked if not isinstance(found, _Loss)]
        _report(losses, Counter(origin.subset for origin, _ in kept), gate.max_bad)
    if not kept:
        raise ValueError("no record is left, and none of them is bad; check the source")
    return [found for _, found in kept]


def _read_sound(read: Callable[[Raw], T]) -> Callable[[Raw], T]:
    def read_row(row: Raw) -> T:
        if row.fault:
            no_object = row.fields is None
            reason = "not given as a JSON object" if no_object else "with a fault of their file"
            raise BadRecord(row.fault, reason)
        if not schema.is_whole(row.name):
            raise BadRecord("has a name with half a character; write it anew", "with a broken name")
        return read(row)

    return read_row


def _attempt(origin: _Origin, function: Callable[[U], Any], argument: U) -> Any:
    try:
        return function(argument)
    except BadRecord as error:
        line = name_fault(origin.name, origin.place, error)
        return _Loss(origin.subset, error.reason, line)


def name_fault(name: str, place: str, error: BadRecord) -> str:
    """Returns the one line of an error: the record, its file, its fault."""
    if str(error).startswith("record "):
        return str(error)
    line = " ".join(f"record {schema.show(name)}{f' of {place}' if place else ''} {error}".split())
    return line if len(line) <= 600 else f"{line[:600]} ..."


def _report(losses: Sequence[_Loss], kept: Counter, max_bad: float) -> None:
    """Logs what is left out, equal reasons in one line; raises if it is too much."""
    if not losses:
        return
    groups: dict[tuple[str, str], list[_Loss]] = {}
    for loss in losses:
        groups.setdefault((loss.subset, loss.reason), []).append(loss)
    lines = [
        f"{f'{part}: ' if part else ''}{len(some)} record{'s' * (len(some) > 1)} {reason}; "
        f"{'the first: ' * (len(some) > 1)}{some[0].message}"
        for (part, reason), some in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]
    total = len(losses) + kept.total()
    some = " | ".join(lines[:3]) + (f" | and {len(lines) - 3} more reasons" if lines[3:] else "")
    for part, lost in Counter(loss.subset for loss in losses).items():
        # a line that is no JSON object is of an unknown part
        if not (kept[part] if part else kept.total()):
            raise ValueError(
                f"no record{f' of {part}' if part else ''} is left, {lost} of them are bad: {some}"
            )
    # 0.05 of 20 is 1, whatever the last bit of the product
    if len(losses) > math.floor(max_bad * total + 1e-6):
        raise ValueError(
            f"{len(losses)} of {total} records are bad, more than the share data.max_bad="
            f"{max_bad}: {some}"
        )
    logging.getLogger(__name__).warning(
        "%d of %d records are bad and left out:\n  %s", len(losses), total, "\n  ".join(lines)
    )


def check_record(record: Record) -> None:
    """Checks a record without its picture.

    Raises:
        BadRecord: an answer that is no option, or after a gap of the options; no answer, a box that
            is inverted or outside, a size that no model takes.
    """
    places = dict(zip(record.options, LETTERS, strict=False))
    if unknown := [letter for letter in record.letters if places.get(letter) != letter]:
        raise BadRecord(
            f"has the answer {schema.show(unknown[0])}, its options are "
            f"{schema.show(list(record.options))}; give letters of these, without a gap before it",
            "whose answer is no option",
        )
    if not (record.letters or record.possible_answers):
        raise BadRecord("has no answer; give a letter or a text", "without an answer")
    if not record.letters and "human_answers" not in record.extra:  # those have their own scores
        check_answers(record.possible_answers)
    if record.size:
        _check_size(*record.size)
    for box in record.boxes:
        x0, y0, x1, y1 = box.corners
        if x0 >= x1 or y0 >= y1:
            raise BadRecord(
                f"has the box {list(box.corners)} of {schema.show(box.label)}, which is "
                "inverted or empty; the left and upper edges come first",
                "with an inverted or empty box",
            )
        # a coordinate is often rounded up at the edge
        if box.space == UNKNOWN:
            continue
        if min(x0, y0) < -1 or x1 > box.space.width + 1 or y1 > box.space.height + 1:
            raise BadRecord(
                f"has the box {list(box.corners)} of {schema.show(box.label)}, which is "
                f"outside its picture of {box.space.width} x {box.space.height} pixels",
                "with a box outside its picture",
            )


def check_answers(answers: Sequence[str]) -> None:
    """Raises a `BadRecord` if no answer is left without case and outer marks, as it is compared."""
    if not any(map(normalize, answers)):
        said = f"has the answer {schema.show(answers[0])}, of which nothing is compared; use words"
        raise BadRecord(said, "whose answer is marks alone")


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE or max(width, height) > 200 * min(width, height):
        raise BadRecord(
            f"has a picture of {width} x {height} pixels; at least {MIN_SIDE} each way, and at "
            "most 200 to 1, are needed",
            "with too thin a picture",
        )


def with_size(record: Record, width: int, height: int) -> Record:
    """Returns the record with boxes in the frame of its picture, where that was unknown."""
    space = Space("original", width, height)
    known = (box._replace(space=space) if box.space == UNKNOWN else box for box in record.boxes)
    return record._replace(boxes=tuple(known))


# ---- pictures ------------------------------------------------------------------------------------


def read_pixels(record: Record) -> np.ndarray:
    """Returns the picture as it is displayed, uint8 [H W 3].

    Raises:
        BadRecord: no such file, no picture, damaged data, too many pixels, a size that is not the
            record's, too thin a picture; names the record.
    """
    return _with_picture(record, images.decode)


def check_picture(record: Record) -> Record:
    """Returns the record with its picture's size as `size`; raises as `read_pixels`.

    The picture is decoded to its end, at a quarter of the cost.
    """
    if record.picture is None:
        return record
    size = _with_picture(record, partial(_checked_size, check=images.check))
    return record._replace(size=size, checked=True)


def read_size(record: Record) -> tuple[int, int]:
    """Returns width and height of the picture as it is displayed, from its file's header.

    A checked picture is not opened again.

    Raises:
        BadRecord: as `read_pixels`, except for damage in the midst of a JPEG's data, which is found
            when its pixels are read.
    """
    if record.checked:
        return record.size
    return _with_picture(record, partial(_checked_size, check=images.check_end))


def _checked_size(image: Image.Image, source: images.Source, *, check: Callable) -> tuple[int, int]:
    size = images.displayed_size(image)
    check(image, source)
    return size


def _with_picture(record: Record, function: Callable[[Image.Image, images.Source], T]) -> T:
    try:
        source = record.picture()
        with images.open_image(source, record.max_pixels) as image:
            _check_displayed(record, image)
            return function(image, source)
    except BadRecord as error:
        raise BadRecord(name_fault(record.id, record.place, error), error.reason) from None


def _check_displayed(record: Record, image: Image.Image) -> None:
    size = images.displayed_size(image)
    if record.size and size != tuple(record.size):
        turned = " as it is displayed (EXIF)" if size != image.size else ""
        raise BadRecord(
            f"gives its picture {' x '.join(map(str, record.size))} pixels and it has "
            f"{' x '.join(map(str, size))}{turned}: boxes would be misplaced",
            "whose picture has another size",
        )
    _check_size(*size)
