"""PuzzleVQA: twenty kinds of drawn puzzles with chains of words and pictures. Host only.

    load(["triangle", "venn"], count=3000, size=64, processes=2)       # to learn from
    load(list(KINDS), count=100, split="test", released="PuzzleVQA")   # the released benchmark

Source: arXiv 2403.13315; chains as in the study this package reimplements.
"""

import difflib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image
from rich.progress import track

from mmcot_jax.example import Example
from mmcot_jax.tasks._guess import check_guesses, guess
from mmcot_jax.tasks.puzzlevqa import chain as chains
from mmcot_jax.tasks.puzzlevqa import draws
from mmcot_jax.tasks.puzzlevqa.changes import SHAPE_MORPH, SHAPE_REFLECT
from mmcot_jax.tasks.puzzlevqa.circle_grids import COLOR_GRID, SIZE_GRID
from mmcot_jax.tasks.puzzlevqa.circles import CIRCLE_SIZE_NUMBER, COLOR_SIZE_CIRCLE, SIZE_CYCLE
from mmcot_jax.tasks.puzzlevqa.draws import Puzzle
from mmcot_jax.tasks.puzzlevqa.hexagons import COLOR_HEXAGON
from mmcot_jax.tasks.puzzlevqa.kind import Kind
from mmcot_jax.tasks.puzzlevqa.number_grids import GRID_NUMBER, GRID_NUMBER_COLOR
from mmcot_jax.tasks.puzzlevqa.numbers import COLOR_NUMBER_HEXAGON, TRIANGLE, VENN
from mmcot_jax.tasks.puzzlevqa.polygons import POLYGON_SIDES_COLOR, POLYGON_SIDES_NUMBER
from mmcot_jax.tasks.puzzlevqa.rectangles import RECTANGLE_HEIGHT_COLOR, RECTANGLE_HEIGHT_NUMBER
from mmcot_jax.tasks.puzzlevqa.shapes import SHAPE_SIZE_GRID, SHAPE_SIZE_HEXAGON
from mmcot_jax.tasks.puzzlevqa.squares import COLOR_OVERLAP_SQUARES

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        CIRCLE_SIZE_NUMBER,
        COLOR_GRID,
        COLOR_HEXAGON,
        COLOR_NUMBER_HEXAGON,
        COLOR_OVERLAP_SQUARES,
        COLOR_SIZE_CIRCLE,
        GRID_NUMBER,
        GRID_NUMBER_COLOR,
        POLYGON_SIDES_COLOR,
        POLYGON_SIDES_NUMBER,
        RECTANGLE_HEIGHT_COLOR,
        RECTANGLE_HEIGHT_NUMBER,
        SHAPE_MORPH,
        SHAPE_REFLECT,
        SHAPE_SIZE_GRID,
        SHAPE_SIZE_HEXAGON,
        SIZE_CYCLE,
        SIZE_GRID,
        TRIANGLE,
        VENN,
    )
}
"""Every kind of puzzle, by name."""

IN_DOMAIN = (
    "color_number_hexagon",
    "grid_number_color",
    "rectangle_height_color",
    "polygon_sides_number",
    "triangle",
)
"""The kinds the study trains on; the other fifteen test what carries over."""

Split = Literal["train", "validation", "test"]
Chain = Literal["multimodal", "textual", "none"]
WordingName = Literal["corrected", "original"]


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
    test_count: int = 100,
    validation_count: int = 0,
) -> list[Puzzle]:
    """Which puzzles `load` would paint, in its order; cheap, no picture is drawn.

    Raises:
        ValueError: as `load`, but for what concerns pictures and chains.
    """
    _choose("split", split, get_args(Split))
    for name in kinds:
        _choose("kind", name, list(KINDS))
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"a kind is named twice in {list(kinds)}; name each once")
    if count is None and (split != "test" or released is None):
        raise ValueError("count=None means all released test records; give a count for drawn ones")
    if count is not None and count < 1:
        raise ValueError(f"count {count} is no number of puzzles a kind; give at least 1")
    folder = Path(released) if released else None
    puzzles: list[Puzzle] = []
    for name in kinds:
        kind = KINDS[name]
        if split != "test":
            test = draws.test_set(kind, test_count, folder)
        if split == "train":
            kept = draws.validation(kind, validation_count, test) if validation_count else []
            puzzles += draws.train_set(kind, count, seed=seed, without=[*test, *kept])
        elif split == "validation":
            puzzles += draws.validation(kind, count, test)
        elif folder:
            puzzles += _first(kind, folder, count)
        elif count > test_count:
            raise ValueError(
                f"count {count} of the test set is more than test_count {test_count}, which is "
                f"what training leaves out; raise test_count for both"
            )
        else:
            puzzles += draws.held_out(kind, count)
    return puzzles


def _first(kind: Kind, folder: Path, count: int | None) -> list[Puzzle]:
    puzzles = draws.released(kind, folder)
    if count is not None and count > len(puzzles):
        raise ValueError(
            f"{folder} has {len(puzzles)} released records of kind {kind.name!r}, fewer than the "
            f"{count} asked for; lower count, or give None for all"
        )
    return puzzles[:count]


def paint(
    puzzle: Puzzle, *, size: int, chain: Chain, wording: WordingName, guesses: float = 0.0
) -> Example:
    """One puzzle as an example: its picture drawn (or read), its chain written and drawn.

    `chain` "none" leaves the rationale empty, as does a released record, which is only asked.
    """
    word = puzzle.word
    if puzzle.picture:
        with Image.open(puzzle.picture) as picture:
            side = (size, size)
            image = np.asarray(picture.convert("RGB").resize(side, Image.Resampling.LANCZOS))
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
            "domain": "in" if puzzle.kind.name in IN_DOMAIN else "out",
            "options": word.options,
            "answer_text": word.answer,
            "caption": word.caption,
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
    test_count: int = 100,
    validation_count: int = 0,
    processes: int = 0,
    progress: bool = False,
) -> Iterator[Example]:
    """Puzzles with their pictures, kind by kind, the same whatever the number of processes.

    No two puzzles of a split are the same scene, and training holds no caption with the options
    of a test puzzle. All faults are raised at the call; pictures are painted as they are taken, a
    block ahead (a picture of 512 pixels is 0.79 MB).

    Args:
        kinds: names out of `KINDS`.
        count: puzzles a kind; None for all released records.
        seed: of the training puzzles; the others are one set for all seeds.
        split: "validation" and "test" puzzles are asked, not taught: their rationale is empty.
        size: side of the pictures, pixels.
        chain: "multimodal" draws every option into the picture and judges it; "textual" deduces;
            "none" leaves the rationale empty.
        wording: "original" keeps the study's wrong rule in two kinds' multimodal chains.
        guesses: share of the chains, 0..1, that give no reason and an answer taken at random.
        released: folder of the released benchmark; then its records are the test set.
        test_count: drawn test puzzles a kind that training leaves out, when none are released.
        validation_count: drawn validation puzzles a kind that training leaves out.
        processes: worker processes that paint; 0 paints in this one.
        progress: show a bar.

    Returns:
        Examples; `extra` has `kind`, `domain` ("in" or "out"), `options`, `answer_text`,
        `caption`, `explanation`, `deduction`.

    Raises:
        ValueError: an unknown name, a kind with fewer distinct puzzles than `count`, a released
            record without its picture, a multimodal chain of a kind that has none, `guesses` that
            are no share.
    """
    _choose("chain", chain, get_args(Chain))
    _choose("wording", wording, get_args(WordingName))
    check_guesses(guesses)
    if processes < 0:
        raise ValueError(f"processes {processes} is no number of workers; 0 paints in this process")
    puzzles = plan(
        kinds,
        count=count,
        seed=seed,
        split=split,
        released=released,
        test_count=test_count,
        validation_count=validation_count,
    )
    if split == "train" and chain == "multimodal":
        for name in kinds:
            chains.require_pictures(KINDS[name])
    chain = chain if split == "train" else "none"
    work = partial(paint, size=size, chain=chain, wording=wording, guesses=guesses)
    painted = map(work, puzzles) if processes == 0 else _pooled(work, puzzles, processes)
    return iter(track(painted, f"puzzles ({split})", total=len(puzzles), disable=not progress))


def _pooled(
    work: Callable[[Puzzle], Example], puzzles: Sequence[Puzzle], processes: int
) -> Iterator[Example]:
    # a forked child of a process that runs jax's threads may hang: spawn
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        size = 256 * processes
        blocks = [puzzles[at : at + size] for at in range(0, len(puzzles), size)]
        ahead = deque(pool.map(work, block, chunksize=32) for block in blocks[:1])
        for number in range(len(blocks)):
            if number + 1 < len(blocks):
                ahead.append(pool.map(work, blocks[number + 1], chunksize=32))
            yield from ahead.popleft()


def load(kinds: Sequence[str], **options: Any) -> list[Example]:
    """All of `stream`, in memory."""
    return list(stream(kinds, **options))


__all__ = ["IN_DOMAIN", "KINDS", "Puzzle", "load", "paint", "plan", "stream"]
