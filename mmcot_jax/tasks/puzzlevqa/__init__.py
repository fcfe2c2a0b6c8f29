"""PuzzleVQA: twenty kinds of drawn puzzles with chains of thought in words and pictures. Host only.

    load(["triangle", "venn"], count=3000, size=64, processes=2)       # a training set
    load(list(KINDS), count=100, split="test", released="PuzzleVQA")   # the released benchmark

Source: arXiv 2403.13315; chains as in the study this package reimplements.
"""

import difflib
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image
from rich.progress import track

from mmcot_jax import signals
from mmcot_jax.example import Example
from mmcot_jax.tasks import ConfigGroup
from mmcot_jax.tasks._guess import check_guesses, guess
from mmcot_jax.tasks._images import MAX_PIXELS
from mmcot_jax.tasks._records import MAX_BAD, RAISE, Gate
from mmcot_jax.tasks._schema import BadRecord
from mmcot_jax.tasks.puzzlevqa import chain as chains
from mmcot_jax.tasks.puzzlevqa import splits
from mmcot_jax.tasks.puzzlevqa.kind import Kind
from mmcot_jax.tasks.puzzlevqa.kinds import find_kinds
from mmcot_jax.tasks.puzzlevqa.splits import Puzzle

EVALUATOR = "puzzlevqa"
"""The file under `evals/` that scores this task."""
LAZY_IMAGES = False
"""True if pictures are read from files each time they are used."""
COSMETIC_OPTIONS = ("processes", "progress")
"""Options that do not change the examples."""

KINDS: dict[str, Kind] = find_kinds()
"""Every kind of puzzle, by name."""

IN_DOMAIN = (
    "color_number_hexagon",
    "grid_number_color",
    "rectangle_height_color",
    "polygon_sides_number",
    "triangle",
)
"""The kinds the study trains on; the other fifteen measure transfer."""

Split = Literal["train", "validation", "test"]
Chain = Literal["multimodal", "textual", "none"]
WordingName = Literal["corrected", "original"]
TEST_COUNT = 100
"""Sampled test puzzles of each kind that training leaves out, unless `test_count` is given."""


def eval_options(
    options: ConfigGroup, evaluation: ConfigGroup, trained: Sequence[ConfigGroup]
) -> dict[str, Any]:
    """Returns the options of `load` for an evaluation set.

    Args:
        options: those of the set, a config's `eval.data`.
        evaluation: a config's `eval`; with `transfer_count`, the set has `count` puzzles of each
            kind of `trained` and `transfer_count` of each other kind.
        trained: the options of the training sets.

    Raises:
        ValueError: a training set leaves out fewer test puzzles than are evaluated.
    """
    if "transfer_count" not in evaluation:
        return dict(options)
    for group in trained:
        left_out = group.get("test_count", TEST_COUNT)
        if evaluation["count"] > left_out and not (
            group.get("released") or options.get("released")
        ):
            raise ValueError(
                f"eval.count is {evaluation['count']} and a training set's test_count {left_out}: "
                f"it may train on the other test puzzles; lower eval.count to {left_out}"
            )
    return {
        **options,
        "count": evaluation["count"],
        "transfer_count": evaluation["transfer_count"],
        "trained": tuple(dict.fromkeys(kind for x in trained for kind in x.get("kinds", ()))),
    }


def _choose(what: str, given: object, among: Sequence[str]) -> None:
    if given not in among:
        near = difflib.get_close_matches(str(given), among, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown {what} {given!r}; {hint}choose from {', '.join(among)}")


def plan(
    kinds: Sequence[str],
    *,
    count: int | None,
    seed: int = 0,
    split: str = "train",
    released: str | PathLike[str] | None = None,
    test_count: int = TEST_COUNT,
    validation_count: int = 0,
    trained: Sequence[str] | None = None,
    transfer_count: int | None = None,
    gate: Gate = RAISE,
) -> list[Puzzle]:
    """Returns the puzzles that `load` would draw, in its order, without drawing a picture.

    Raises:
        ValueError: as `load`, except for faults of pictures and chains.
    """
    _choose("split", split, get_args(Split))
    for name in kinds:
        _choose("kind", name, list(KINDS))
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"a kind is named twice in {list(kinds)}; name each once")
    counts = dict.fromkeys(kinds, count)
    if transfer_count is not None:
        trained = IN_DOMAIN if trained is None else trained
        counts = {name: count for name in kinds if name in trained}
        counts |= {name: transfer_count for name in kinds if name not in trained}
    folder = Path(released) if released else None
    for number in counts.values():
        _check_count(number, split, folder, test_count)
    puzzles: list[Puzzle] = []
    for name, number in counts.items():
        kind = KINDS[name]
        if split == "test" and folder:
            puzzles += _first_released(kind, folder, number, gate)
            continue
        if split == "test":
            puzzles += splits.sampled_test_set(kind, number)
            continue
        test = splits.test_set(kind, test_count, folder, gate)
        if split == "validation":
            puzzles += splits.validation_set(kind, number, test)
            continue
        kept = splits.validation_set(kind, validation_count, test) if validation_count else []
        puzzles += splits.train_set(kind, number, seed=seed, without=[*test, *kept])
    return puzzles


def _check_count(count: int | None, split: str, folder: Path | None, test_count: int) -> None:
    if count is None and (split != "test" or folder is None):
        raise ValueError(
            "count=None means all released test records; give a count for sampled ones"
        )
    if count is not None and count < 1:
        raise ValueError(f"count {count} is no number of puzzles a kind; give at least 1")
    if split == "test" and folder is None and count > test_count:
        raise ValueError(
            f"count {count} of the test set is more than test_count {test_count}, which is "
            f"what training leaves out; raise test_count for both"
        )


def _first_released(kind: Kind, folder: Path, count: int | None, gate: Gate) -> list[Puzzle]:
    puzzles = splits.released(kind, folder, gate, decode=True)
    if count is not None and count > len(puzzles):
        raise ValueError(
            f"{folder} has {len(puzzles)} released records of kind {kind.name!r}, fewer than the "
            f"requested {count}; lower count, or give None for all"
        )
    return puzzles[:count]


def make_example(
    puzzle: Puzzle,
    *,
    size: int,
    chain: Chain,
    wording: WordingName,
    guesses: float = 0.0,
    trained: Collection[str] = IN_DOMAIN,
) -> Example:
    """Returns a puzzle as an example: draws (or reads) its picture and writes its chain.

    The rationale is empty if `chain` is "none", and in a released record.
    """
    word = puzzle.word
    if puzzle.picture:
        picture = Image.fromarray(splits.read_picture(puzzle))
        image = np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS))
    else:
        image = puzzle.kind.draw(puzzle.scene, size)
    if chain == "none" or puzzle.picture:
        rationale = ()
    elif guessed := guess(puzzle.id, guesses, chains.LETTERS[: len(word.options)]):
        rationale = chains.guess(word, guessed)
    elif chain == "textual":
        rationale = chains.textual(puzzle.kind, puzzle.scene)
    else:
        rationale = chains.multimodal(puzzle.kind, puzzle.scene, size=size, wording=wording)
    return Example(
        id=puzzle.id,
        prompt=chains.prompt(word, image),
        answer=chains.letter(word),
        rationale=rationale,
        extra={
            "kind": puzzle.kind.name,
            "domain": "in" if puzzle.kind.name in trained else "out",
            "options": word.options,
            "answer_text": word.answer,
            "caption": word.caption,
            "facts": puzzle.kind.facts(puzzle.scene) if puzzle.scene else (),
            "explanation": word.explanation,
            "deduction": word.deduction,
        },
    )


def stream(
    kinds: Sequence[str],
    *,
    count: int | None,
    seed: int = 0,
    split: str = "train",
    size: int = 512,
    chain: str = "multimodal",
    wording: str = "corrected",
    guesses: float = 0.0,
    released: str | PathLike[str] | None = None,
    test_count: int = TEST_COUNT,
    validation_count: int = 0,
    trained: Sequence[str] | None = None,
    transfer_count: int | None = None,
    on_bad_record: str = "raise",
    max_bad: float = MAX_BAD,
    max_image_pixels: int = MAX_PIXELS,
    processes: int = 0,
    progress: bool = False,
) -> Iterator[Example]:
    """Yields puzzles with their pictures, kind by kind, the same for any number of processes.

    No two puzzles of a split are the same scene, and no training puzzle has both the caption and
    the options of a test puzzle. All faults are raised at the call; pictures are drawn as they are
    taken, a block ahead (a picture of 512 pixels is 0.79 MB).

    Args:
        kinds: names from `KINDS`.
        count: puzzles a kind; None for all released records.
        seed: of the training puzzles; validation and test sets are the same for all seeds.
        split: "train", "validation" or "test"; only training puzzles have a rationale.
        size: side of the pictures, pixels.
        chain: "multimodal" draws every option into the picture and judges it; "textual" deduces;
            "none" leaves the rationale empty.
        wording: "original" keeps the study's wrong rule in two kinds' multimodal chains.
        guesses: share of the chains, 0..1, that give a random answer and no reason.
        released: folder of the released benchmark; its records are then the test set.
        test_count: sampled test puzzles a kind that training leaves out, if none are released.
        validation_count: validation puzzles a kind that training leaves out.
        trained: kinds that are "in" domain; `IN_DOMAIN` by default.
        transfer_count: puzzles a kind not in `trained`, which come last; `count` by default.
        on_bad_record, max_bad, max_image_pixels: for released records, as `_records.Gate`.
        processes: worker processes that draw; 0 draws in this one.
        progress: shows a bar.

    Returns:
        Examples; `extra` has `kind`, `domain` ("in" or "out"), `options`, `answer_text`,
        `caption`, `facts` (its words that tell of the scene; none of a released record),
        `explanation`, `deduction`.

    Raises:
        ValueError: an unknown name, fewer distinct puzzles than `count`, a bad
            released record, a multimodal chain of a kind that has none, `guesses` outside 0..1.
    """
    _choose("chain", chain, get_args(Chain))
    _choose("wording", wording, get_args(WordingName))
    check_guesses(guesses)
    if processes < 0:
        raise ValueError(f"processes {processes} is no number of workers; 0 draws in this process")
    puzzles = plan(
        kinds,
        count=count,
        seed=seed,
        split=split,
        released=released,
        test_count=test_count,
        validation_count=validation_count,
        trained=trained,
        transfer_count=transfer_count,
        gate=Gate(on_bad_record, max_bad, max_image_pixels),
    )
    if split == "train" and chain == "multimodal":
        for name in kinds:
            chains.require_multimodal(KINDS[name])
    chain = chain if split == "train" else "none"
    work = partial(
        make_example,
        size=size,
        chain=chain,
        wording=wording,
        guesses=guesses,
        trained=IN_DOMAIN if trained is None else trained,
    )
    examples = map(work, puzzles) if processes == 0 else _pooled(work, puzzles, processes)
    return iter(track(examples, f"puzzles ({split})", total=len(puzzles), disable=not progress))


def _pooled(
    work: Callable[[Puzzle], Example], puzzles: Sequence[Puzzle], processes: int
) -> Iterator[Example]:
    # a forked child of a process with jax's threads may hang: spawn
    how = {"mp_context": get_context("spawn"), "initializer": signals.initialize_worker}
    with signals.blocked():
        pool = ProcessPoolExecutor(processes, **how)
    with pool:

        def start(block: Sequence[Puzzle]) -> Iterator[Example]:
            with signals.blocked():  # this starts the workers
                return pool.map(work, block, chunksize=32)

        size = 256 * processes
        blocks = [puzzles[at : at + size] for at in range(0, len(puzzles), size)]
        ahead = deque(start(block) for block in blocks[:1])
        for number in range(len(blocks)):
            if number + 1 < len(blocks):
                ahead.append(start(blocks[number + 1]))
            try:
                yield from ahead.popleft()
            except BadRecord as error:  # raised here, it is an error of the input, not of a worker
                raise BadRecord(str(error), error.reason) from None


def load(kinds: Sequence[str], **options: Any) -> list[Example]:
    """Returns all examples of `stream`, in memory."""
    return list(stream(kinds, **options))


__all__ = ["IN_DOMAIN", "KINDS", "Puzzle", "eval_options", "load", "make_example", "plan", "stream"]
