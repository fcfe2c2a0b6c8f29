"""Pictured questions in words: the study's prompts, and chains that note what was looked at where.

Source: the study's prompts and targets; the boxes' frame is ours unless asked otherwise.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, overload

from mmcot_jax.boxes import Box, Number, Sight, Space, convert, truncate
from mmcot_jax.example import Example
from mmcot_jax.tasks._records import Record, frame, pixels

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
"""The fixed words of prompts, with boxes and without."""

FORMS = ("options", "open", "plain")
"""Letters among options; a free answer after thinking; a free answer at once."""
SIGHT = Sight()
FRAMES = ("resized", "original")
WORDINGS = ("corrected", "original")


class Style(NamedTuple):
    """How a task's records become examples."""

    form: str = "options"
    boxes: bool = True
    """Whether prompts ask for boxes and chains note them."""
    frame: str = "resized"
    """The pixels coordinates count: those the model sees, or the picture's own."""
    sight: Sight = SIGHT
    """How large the model sees a picture."""
    wording: str = "corrected"
    """"original" keeps, as the study did, places in the chain that no entity is known for, and
    boxes in the chain of the open form even where the prompt asks for none."""

    def check(self) -> "Style":
        """Itself.

        Raises:
            ValueError: an unknown name.
        """
        for name, known in (("form", FORMS), ("frame", FRAMES), ("wording", WORDINGS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; choose one of {', '.join(known)}"
                )
        return self


class Words(NamedTuple):
    """A record in words."""

    prompt: str
    target: str
    """The chain and the answer."""
    answer: str
    """What is to stand in `<answer>`."""
    boxes: tuple[Box, ...]
    """In the frame of the style, cut to whole pixels."""


def write(record: Record, style: Style) -> Words:
    """What is asked, what is to be answered, and where things are."""
    # as they are written: a chain that says what the target says has overlap 1
    boxes = tuple(truncate(convert(box, _space(box.space, style))) for box in record.boxes)
    best = record.possible_answers[0] if record.possible_answers else ""
    answer = ", ".join(record.letters) if style.form == "options" else best
    target = f"<answer>{answer}</answer>"
    if record.explanation and style.form != "plain":
        target = f"<think>{_chain(record, boxes, style)}</think> {target}"
    return Words(_prompt(record, style), target, answer, boxes)


def _space(picture: Space, style: Style) -> Space:
    return picture if style.frame == "original" else style.sight.space(picture)


def _prompt(record: Record, style: Style) -> str:
    if style.form == "plain":
        return record.questions[0]
    think = _FIRST + (_BOXES if style.boxes else "") + _THEN
    if style.form == "open":
        return f"{think}\nQuestion: {record.questions[0]}"
    if len(record.questions) == 1:
        parts = [(record.questions[0], list(record.options))]
        choose = CHOOSE
    else:  # two questions: the first two options are the first one's
        keys = list(record.options)
        parts = list(zip(record.questions, (keys[:2], keys[2:]), strict=True))
        choose, think = (text.replace("question", "questions") for text in (CHOOSE, think))
        choose += EACH
    asked = "\n".join(
        f"Question: {question}\nOptions: {' '.join(f'({k}) {record.options[k]}' for k in keys)}."
        for question, keys in parts
    )
    return f"{choose} {asked}\n{think}"


_NUMBER = r"\d+(?:\.\d+)?"
_ANY_PLACE = re.compile(rf"\[\s*{_NUMBER}(?:\s*,\s*{_NUMBER})*\s*\]")
_PLACE = re.compile(rf"\[\s*{_NUMBER}(?:\s*,\s*{_NUMBER}){{3}}\s*\]")


def _chain(record: Record, boxes: Sequence[Box], style: Style) -> str:
    """The explanation, each place `[x, y, w, h]` in it as a note, or without places."""
    text = record.explanation
    if not style.boxes and not (style.form == "open" and style.wording == "original"):
        return re.sub(r"\s{2,}", " ", _ANY_PLACE.sub("", text))
    notes: dict[tuple[float, ...], str] = {}
    for box, shown in zip(record.boxes, boxes, strict=True):
        notes.setdefault(_key(box.corners), shown.notation)

    def note(found: re.Match) -> str:
        x, y, w, h = (float(number) for number in found[0].strip("[]").split(","))
        return notes.get(_key((x, y, x + w, y + h)), found[0])

    text = _PLACE.sub(note, text)
    unknown = _PLACE.sub("", text)
    if style.wording == "original" or unknown == text:
        return text
    return re.sub(r"\s{2,}", " ", unknown)


def _key(corners: Sequence[Number]) -> tuple[float, ...]:
    return tuple(round(float(corner), 6) for corner in corners)


# ---- examples ------------------------------------------------------------------------------------


class Examples(Sequence):
    """Examples made as they are asked for: a picture is in memory only while it is used."""

    def __init__(
        self,
        records: Sequence[Record],
        style: Style,
        extra: Callable[[Record], Mapping[str, Any]] = lambda _: {},
    ):
        self._records, self._style, self._extra = records, style, extra

    def __len__(self) -> int:
        """How many."""
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> "Examples": ...

    def __getitem__(self, index):
        """One, its picture read now; or some of them."""
        if isinstance(index, slice):
            return Examples(self._records[index], self._style, self._extra)
        return example(self._records[index], self._style, self._extra)


def example(record: Record, style: Style, extra: Callable[[Record], Mapping[str, Any]]) -> Example:
    """A record with its picture.

    `extra` has `options` (in the order of their letters), `possible_answers`, `boxes` and
    `space`, the frame a chain's numbers are of, and `solution`, the whole target.

    Raises:
        ValueError: as `_records.pixels`.
    """
    words = write(record, style)
    image = pixels(record)
    space = _space(frame((image.shape[1], image.shape[0])), style)
    return Example(
        id=record.id,
        prompt=(image, words.prompt),
        answer=words.answer,
        rationale=(words.target,),
        extra={
            "options": tuple(record.options.values()) if style.form == "options" else (),
            "possible_answers": record.possible_answers,
            "boxes": words.boxes,
            "space": space,
            "solution": words.target,
            **extra(record),
        },
    )


# ---- splits --------------------------------------------------------------------------------------

PARTS = ("all", "first", "rest")
HALF = 1000
"""Records of the first part; the study taught them, and rewarded the rest."""
_SPLIT_SEED = 42


T = TypeVar("T")


def part_of(records: Sequence[T], *, split: str, part: str, validation_count: int) -> list[T]:
    """Training or validation records out of those that are not for the test.

    In the order of seed 42, the last `validation_count` are for validation; "first" are the first
    thousand, "rest" those in between, and "all" are both, in the file's order.

    Raises:
        ValueError: an unknown part, or no record left to learn from or to validate by.
    """
    if part not in PARTS:
        raise ValueError(f"part is {part!r}; choose one of {', '.join(PARTS)}")
    if not 0 <= validation_count < len(records):
        raise ValueError(
            f"validation_count is {validation_count} of {len(records)} records; leave some to learn"
        )
    order = list(range(len(records)))
    random.Random(_SPLIT_SEED).shuffle(order)
    kept = len(order) - validation_count
    if split == "validation":
        if not validation_count:
            raise ValueError("validation_count is 0: no record is kept from training")
        numbers = order[kept:]
    elif part == "all":
        numbers = sorted(order[:kept])
    else:
        numbers = order[: min(HALF, kept)] if part == "first" else order[HALF:kept]
    return [records[n] for n in numbers]


def first(records: Sequence[T], count: int, split: str) -> Sequence[T]:
    """The first `count` records; 0 for all.

    Raises:
        ValueError: there are fewer, or none.
    """
    if not 0 <= count <= len(records) or not records:
        raise ValueError(f"count {count} of {len(records)} {split} records; give 0 for all of them")
    return records[: count or None]
