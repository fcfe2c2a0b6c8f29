"""Shapes: questions about pictures of a toy world, with boxes in the chain; nothing is downloaded.

load(["color", "place"], count=1000, size=112)      # to learn from, 1000 a kind
described(500, split="test")                        # scenes in words, with yes/no questions
"""

import difflib
import random
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

from mmcot_jax.boxes import Sight, Space, convert, truncate
from mmcot_jax.example import Example
from mmcot_jax.tasks._guess import check_guesses, guess
from mmcot_jax.tasks.shapes.questions import CANDIDATES, KINDS, Question, listed, yes_no
from mmcot_jax.tasks.shapes.world import SMALLEST, describe, draw

EVALUATOR = "grounded"
LAZY_IMAGES = False

LETTERS = "ABCD"
DESCRIBED = "described"

Split = Literal["train", "validation", "test"]
Form = Literal["options", "open"]


def _choose(what: str, given: object, among: Sequence[str]) -> None:
    if given not in among:
        near = difflib.get_close_matches(str(given), among, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown {what} {given!r}; {hint}choose from {', '.join(among)}")


def _split(words: str) -> str:
    """Of every ten described scenes one is for the test and one for validation."""
    return {0: "test", 1: "validation"}.get(zlib.crc32(words.encode()) % 10, "train")


def _questions(kind: str, split: str, seed: int, count: int) -> list[Question]:
    """The first distinct questions of a split.

    Two are the same if their pictures and words are; where there is no picture, if all words are.
    """
    ask = yes_no if kind == DESCRIBED else KINDS[kind]
    rng = random.Random(f"{kind}/{split}" + (f"/{seed}" if split == "train" else ""))
    found: dict[tuple[Any, str], Question] = {}
    vain = 0
    # Nothing new in 20 draws for every question found: the chance that one of n equally likely
    # questions is still hidden then is about exp(-20).
    while len(found) < count and vain < 20 * (len(found) + 50):
        question = ask(rng)
        words = describe(question.scene)
        own = words if kind == DESCRIBED else question.scene, question.text
        if _split(words) == split:
            vain = vain + 1 if own in found else 0
            found.setdefault(own, question)
    if len(found) < count:
        raise ValueError(
            f"kind {kind!r} has {len(found)} distinct questions for {split}, fewer than the "
            f"{count} asked for; lower count"
        )
    return list(found.values())


def _check(count: int, split: str) -> None:
    _choose("split", split, get_args(Split))
    if count < 1:
        raise ValueError(f"count {count} is no number of questions; give at least 1")


def stream(
    kinds: Sequence[str],
    *,
    count: int,
    seed: int = 0,
    split: str = "train",
    size: int = 112,
    form: str = "options",
    boxes: bool = True,
    guesses: float = 0.0,
    sight: Sight | None = None,
) -> Iterator[Example]:
    """Questions about pictures, kind by kind.

    No scene of one split, as described in words, is in another.

    Args:
        kinds: names out of `KINDS`.
        count: questions a kind.
        seed: of the training questions; the others are one set for all seeds.
        split: "train", "validation" or "test".
        size: side of the pictures, pixels.
        form: "options" is answered by a letter, "open" by a word.
        boxes: whether the chain notes where the shapes are.
        guesses: share of the chains, 0..1, that give no reason and an answer taken at random.
        sight: how large the model sees a picture; None: as it is.

    Returns:
        Examples; `extra` has `kind`, `options`, `answer_text`, `possible_answers`, `boxes` (those
        to be looked at, in the pixels the model sees), `space` (those pixels), `scene` (in words)
        and `solution`, the whole target, also where the chain guesses.

    Raises:
        ValueError: an unknown name, a count below 1 or above what there is, a picture too small,
            `guesses` that are no share.
    """
    _check(count, split)
    _choose("form", form, get_args(Form))
    for kind in kinds:
        _choose("kind", kind, list(KINDS))

    if size < SMALLEST:
        raise ValueError(f"picture size {size} is too small for shapes; give at least {SMALLEST}")
    check_guesses(guesses)
    asked = {kind: _questions(kind, split, seed, count) for kind in kinds}
    return (
        _example(f"{kind}/{split}/{number:05}", kind, question, size, form, boxes, guesses, sight)
        for kind, questions in asked.items()
        for number, question in enumerate(questions)
    )


def load(kinds: Sequence[str], **options: Any) -> list[Example]:
    """All of `stream`, in memory."""
    return list(stream(kinds, **options))


def _example(
    id: str,
    kind: str,
    question: Question,
    size: int,
    form: str,
    boxes: bool,
    guesses: float,
    sight: Sight | None,
) -> Example:
    letter = LETTERS[question.options.index(question.answer)]
    options = " ".join(f"({x}) {o}" for x, o in zip(LETTERS, question.options, strict=True))
    answer = letter if form == "options" else question.answer
    said = f"<answer>{answer}</answer>"
    asked = f"Question: {question.text}\n" + f"Options: {options}.\n" * (form == "options")
    own = Space("original", size, size)
    space = sight.space(own) if sight else own
    marks = tuple(truncate(convert(thing.box(size), space)) for thing in question.seen)
    if boxes:
        looked = question.looked.format(*(box.notation for box in marks))
    else:
        looked = f"There is {listed([f'a {box.label}' for box in marks])}."
    target = f"<think>{looked} {question.reason}</think> {said}"
    among = LETTERS[: len(question.options)] if form == "options" else question.options
    guessed = guess(id, guesses, among)
    return Example(
        id=id,
        prompt=(draw(question.scene, size), asked),
        answer=answer,
        rationale=(f"<answer>{guessed}</answer>" if guessed else target,),
        extra={
            "kind": kind,
            "options": question.options if form == "options" else (),
            "answer_text": question.answer,
            "possible_answers": (question.answer,),
            "boxes": marks,
            "space": space,
            "scene": describe(question.scene),
            "solution": target,
        },
    )


def described(count: int, *, split: str = "train", seed: int = 0) -> list[Question]:
    """Yes/no questions on places, which the words of `describe(question.scene)` decide.

    Splits and seeds are as in `stream`; `question.options` are the candidate answers.

    Raises:
        ValueError: an unknown split, a count below 1 or above what there is.
    """
    _check(count, split)
    return _questions(DESCRIBED, split, seed, count)


__all__ = ["CANDIDATES", "KINDS", "Question", "describe", "described", "draw", "load", "stream"]
