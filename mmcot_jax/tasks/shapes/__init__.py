"""Shapes: questions about pictures of a toy world, with boxes in the chain; nothing is downloaded.

load(["color", "place"], count=1000, size=112)      # for training, 1000 a kind
described(500, split="test")                        # scenes in words, with yes/no questions
"""

import random
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from mmcot_jax.boxes import Sight, Space, convert, truncate
from mmcot_jax.errors import check_choice, check_whole
from mmcot_jax.example import Example
from mmcot_jax.tasks._guess import check_guesses, guess
from mmcot_jax.tasks.shapes.questions import KINDS, SceneQuestion, join_words, yes_no
from mmcot_jax.tasks.shapes.world import MIN_SIZE, describe, draw

EVALUATOR = "grounded"
LAZY_IMAGES = False
COSMETIC_OPTIONS = ()

SPLITS = ("train", "validation", "test")
FORMS = ("options", "open")
LETTERS = "ABCD"
DESCRIBED = "described"


def _split(description: str) -> str:
    """Returns the split of a scene: of ten, one is for the test and one for validation."""
    return {0: "test", 1: "validation"}.get(zlib.crc32(description.encode()) % 10, "train")


def _questions(kind: str, split: str, seed: int, count: int) -> list[SceneQuestion]:
    """Returns the first distinct questions of a split.

    Two questions are equal if their texts and their pictures (or descriptions) are.
    """
    sample = yes_no if kind == DESCRIBED else KINDS[kind]
    rng = random.Random(f"{kind}/{split}" + (f"/{seed}" if split == "train" else ""))
    found: dict[tuple[Any, str], SceneQuestion] = {}
    repeats = 0
    # Stop after 20 repeats in a row for every question found: the chance that one of n equally
    # likely questions is still missing then is about exp(-20).
    while len(found) < count and repeats < 20 * (len(found) + 50):
        question = sample(rng)
        description = describe(question.scene)
        content = description if kind == DESCRIBED else question.scene, question.text
        if _split(description) == split:
            repeats = repeats + 1 if content in found else 0
            found.setdefault(content, question)
    if len(found) < count:
        raise ValueError(
            f"kind {kind!r} has {len(found)} distinct questions for {split}, fewer than the "
            f"{count} requested; lower count"
        )
    return list(found.values())


def _check(count: int, split: str) -> None:
    check_choice("split", split, SPLITS)
    check_whole("count", count, 1)


def check_size(size: int) -> None:
    """Raises a `ValueError` if the side of pictures is too small."""
    if size < MIN_SIZE:
        raise ValueError(f"size is {size} pixels, too small for shapes; give at least {MIN_SIZE}")


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
    """Yields questions about pictures, kind by kind. The splits share no scene, in words.

    Args:
        kinds: names out of `KINDS`.
        count: number of questions a kind.
        seed: of the training questions; validation and test are the same for all seeds.
        split: "train", "validation" or "test".
        size: side of the pictures in pixels.
        form: "options": answered by a letter; "open": by a word.
        boxes: True if the chain contains the boxes of the shapes.
        guesses: share of the chains, 0..1, that give a random answer without a reason.
        sight: the size to which the model resizes a picture; None: it does not.

    Returns:
        Examples; `extra` has `kind`, `options`, `answer_text`, `possible_answers`, `boxes` (of the
        relevant shapes, in the pixels the model sees), `space` (those pixels), `scene` (in words)
        and `solution`, the whole target, even if the chain guesses.

    Raises:
        ValueError: an unknown name, a count below 1 or above the number of questions, too small
            a picture, `guesses` outside 0..1.
    """
    _check(count, split)
    check_choice("form", form, FORMS)
    for kind in kinds:
        check_choice("a kind", kind, KINDS)
    check_size(size)
    check_guesses(guesses)
    questions = {kind: _questions(kind, split, seed, count) for kind in kinds}
    return (
        _example(f"{kind}/{split}/{number:05}", kind, question, size, form, boxes, guesses, sight)
        for kind, of_kind in questions.items()
        for number, question in enumerate(of_kind)
    )


def load(kinds: Sequence[str], **options: Any) -> list[Example]:
    """Returns all examples of `stream`."""
    return list(stream(kinds, **options))


def _example(
    id: str,
    kind: str,
    question: SceneQuestion,
    size: int,
    form: str,
    boxes: bool,
    guesses: float,
    sight: Sight | None,
) -> Example:
    letter = LETTERS[question.options.index(question.answer)]
    options = " ".join(f"({x}) {o}" for x, o in zip(LETTERS, question.options, strict=True))
    answer = letter if form == "options" else question.answer
    text = f"Question: {question.text}\n" + f"Options: {options}.\n" * (form == "options")
    pixels = Space("original", size, size)
    space = sight.space(pixels) if sight else pixels
    relevant = tuple(truncate(convert(thing.box(size), space)) for thing in question.relevant)
    if boxes:
        location = question.location.format(*(box.notation for box in relevant))
    else:
        location = f"There is {join_words([f'a {box.label}' for box in relevant])}."
    target = f"<think>{location} {question.reason}</think> <answer>{answer}</answer>"
    choices = LETTERS[: len(question.options)] if form == "options" else question.options
    guessed = guess(id, guesses, choices)
    return Example(
        id=id,
        prompt=(draw(question.scene, size), text),
        answer=answer,
        rationale=(f"<answer>{guessed}</answer>" if guessed else target,),
        extra={
            "kind": kind,
            "options": question.options if form == "options" else (),
            "answer_text": question.answer,
            "possible_answers": (question.answer,),
            "boxes": relevant,
            "space": space,
            "scene": describe(question.scene),
            "solution": target,
        },
    )


def described(count: int, *, split: str = "train", seed: int = 0) -> list[SceneQuestion]:
    """Returns yes/no questions that `describe(question.scene)` decides.

    Splits and seeds are as in `stream`; `question.options` are the candidate answers.

    Raises:
        ValueError: an unknown split, a count below 1 or above the number of questions.
    """
    _check(count, split)
    return _questions(DESCRIBED, split, seed, count)
