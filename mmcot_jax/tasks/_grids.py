"""What the tasks on grids share: sampled layouts, splits, questions, taught chains.

A task gives `Place`: how a layout is sampled and how its cells are called.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax.errors import check_choice, check_whole
from mmcot_jax.example import Example, Segment
from mmcot_jax.grids import (
    FREE,
    MAX_SIDE,
    MIN_SIDE,
    Cell,
    Grid,
    blocked_map,
    distances,
    name,
    shortest,
)
from mmcot_jax.grids.pictures import check_size, draw
from mmcot_jax.tasks import ConfigGroup
from mmcot_jax.tasks._splits import SPLITS, split_of

CHAINS = ("drawn", "textual", "both", "none")
WALKS = ("random", "optimal")
QUESTIONS = ("words", "picture")


class Place(NamedTuple):
    """A kind of grid."""

    name: str
    """The task's."""
    sample: Callable[[int, random.Random], tuple[str, ...]]
    """(side, rng) -> the rows of a layout."""
    title: str
    blocked: str
    """The name of its blocked cells."""
    enterable: bool = False
    """As `Grid.enterable`."""


class Form(NamedTuple):
    """How questions and chains look."""

    size: int
    canvas: int | None
    chain: str
    walk: str
    question: str
    max_steps: int | None


def stream(
    place: Place,
    *,
    count: int,
    sizes: Sequence[int] = (3, 4),
    seed: int = 0,
    split: str = "train",
    size: int = 256,
    canvas: int | None = None,
    chain: str = "textual",
    walk: str = "random",
    question: str = "words",
    max_steps: int | None = None,
    min_moves: int = 2,
    max_moves: int | None = None,
    trained: Sequence[int] | None = None,
) -> Iterator[Example]:
    """Yields questions about grids, side by side. The splits share no layout of blocked cells.

    Args:
        place: the kind of grid.
        count: number of questions of each side.
        sizes: sides of the grids in cells, 3 to 8.
        seed: of the training questions; validation and test are the same for all seeds.
        split: "train", "validation" or "test".
        size: side of the pictures in pixels.
        canvas: cells along a side of the pictures; None: a grid fills its picture.
        chain: "drawn": a picture of the state after each move; "textual": moves and the cells they
            lead to, in words; "both"; "none": no rationale.
        walk: the taught path, "random": a random walk of legal moves; "optimal": a shortest path.
        question: "words": the grid is told; "picture": it is drawn.
        max_steps: moves after which a random walk ends if it has not reached the goal; None: twice
            the side of its grid.
        min_moves, max_moves: moves of the shortest path, at least and at most; None: any number.
        trained: sides that are "seen"; None: all.

    Returns:
        Examples; `extra` has `grid`, `canvas`, `task`, `side`, `domain` ("seen" or "unseen").

    Raises:
        ValueError: an unknown name, a side or a number out of range, fewer than `count` distinct
            questions found.
    """
    for what, given, among in (
        ("split", split, SPLITS),
        ("chain", chain, CHAINS),
        ("walk", walk, WALKS),
        ("question", question, QUESTIONS),
    ):
        check_choice(what, given, among)
    check_whole("count", count, 1)
    check_whole("size", size, 1)
    check_whole("min_moves", min_moves, 1)
    for option, value in (("canvas", canvas), ("max_steps", max_steps), ("max_moves", max_moves)):
        if value is not None:
            check_whole(option, value, 1)
    known = range(MIN_SIDE, MAX_SIDE + 1)
    sides = tuple(sizes) if isinstance(sizes, Sequence) else ()
    whole = all(isinstance(side, Integral) and side in known for side in sides)
    if not sides or not whole or len(set(sides)) < len(sides):
        raise ValueError(
            f"sizes are {sizes!r}; give sides of {MIN_SIDE} to {MAX_SIDE} cells, each once"
        )
    if max_moves is not None and max_moves < min_moves:
        raise ValueError(f"max_moves is {max_moves} and min_moves {min_moves}; give at least that")
    if canvas is not None and canvas < max(sizes):
        raise ValueError(
            f"canvas is {canvas} cells and a grid has {max(sizes)}; give at least as many, or None"
        )
    check_size(size, canvas or max(sizes))
    form = Form(size, canvas, chain, walk, question, max_steps)
    grids = {side: _grids(place, side, split, seed, count, min_moves, max_moves) for side in sides}
    return (
        _example(place, f"{place.name}/{side}/{split}/{number:05}", grid, form, trained)
        for side, of_side in grids.items()
        for number, grid in enumerate(of_side)
    )


def eval_options(options: ConfigGroup, _: Any, trained: Sequence[ConfigGroup]) -> dict[str, Any]:
    """Returns the options of an evaluation set: `trained` are the sides of the training sets."""
    sides = dict.fromkeys(side for group in trained for side in group.get("sizes", ()))
    return {"trained": tuple(sides), **options} if sides else dict(options)


_DRAWS = 100_000
"""Draws without a new grid after which no more are looked for: 1 to 30 s."""


def _grids(
    place: Place,
    side: int,
    split: str,
    seed: int,
    count: int,
    min_moves: int,
    max_moves: int | None,
) -> list[Grid]:
    moves = range(min_moves, side**2 if max_moves is None else max_moves + 1)
    rng = random.Random(f"{place.name}/{side}/{split}" + (f"/{seed}" if split == "train" else ""))
    found: dict[Grid, None] = {}
    draws = repeats = all_repeats = 0  # the first two since the last new grid
    # The chance that one of n equally likely grids is still missing after 5 n repeats is exp(-5);
    # after 3 n repeats in all a fiftieth of them is missing, not half.
    while len(found) < count and draws < _DRAWS and repeats < 5 * (len(found) + 200):
        if all_repeats > 3 * (len(found) + 200) and count > 2 * len(found):
            break
        draws += 1
        rows = place.sample(side, rng)
        free = [(r, c) for r, row in enumerate(rows) for c, x in enumerate(row) if x == FREE]
        if split_of("/".join(rows)) != split or len(free) < 2:
            continue
        grid = Grid(rows, *rng.sample(free, 2), place.enterable)
        if grid in found:
            repeats, all_repeats = repeats + 1, all_repeats + 1
        elif distances(grid).get(grid.start, 0) in moves:
            found[grid] = None
            draws = repeats = 0
    if len(found) < count:
        upwards = "or more" if max_moves is None else f"to {max_moves}"
        raise ValueError(
            f"{place.name} has too few grids of side {side} for {split} with shortest paths of "
            f"{min_moves} {upwards} moves: {len(found)} were found, then hardly another, and "
            f"{count} are requested; lower count, allow other paths, or give larger sizes"
        )
    return list(found)


def random_walk(grid: Grid, max_steps: int, rng: random.Random) -> list[str]:
    """Returns legal moves, each as likely as the others, to the goal or `max_steps` of them."""
    moves, cell = [], grid.start
    while cell != grid.goal and len(moves) < max_steps:
        move, cell = rng.choice(list(grid.legal(cell).items()))
        moves.append(move)
    return moves


def shortest_path(grid: Grid, rng: random.Random) -> list[str]:
    """Returns the moves of a shortest path, each as likely as the others that come nearer."""
    far, moves, cell = distances(grid), [], grid.start
    while cell != grid.goal:
        nearer = [x for x in grid.legal(cell).items() if far[x[1]] < far[cell]]
        move, cell = rng.choice(nearer)
        moves.append(move)
    return moves


def _example(
    place: Place, id: str, grid: Grid, form: Form, trained: Sequence[int] | None
) -> Example:
    rng, moves = random.Random(id + "/".join(grid.rows)), []
    if form.chain != "none" and form.walk == "random":
        moves = random_walk(grid, form.max_steps or 2 * grid.side, rng)
    elif form.chain != "none":
        moves = shortest_path(grid, rng)
    seen = trained is None or grid.side in trained
    return Example(
        id=id,
        prompt=_prompt(place, grid, form),
        answer=str(shortest(grid)),
        rationale=_rationale(grid, moves, form),
        extra={
            "grid": grid,
            "canvas": form.canvas,
            "task": place.name,
            "side": grid.side,
            "domain": "seen" if seen else "unseen",
        },
    )


def _prompt(place: Place, grid: Grid, form: Form) -> tuple[Segment, ...]:
    head = f"{place.title} of {grid.side} rows.\n"
    if form.question == "picture":
        return (head, draw(grid, grid.start, form.size, form.canvas), "\nPath:")
    blocked = [name((int(r), int(c))) for r, c in np.argwhere(blocked_map(grid))]
    told = (
        f"{place.blocked} {' '.join(blocked) or 'none'}\n"
        f"Goal {name(grid.goal)}\nStart {name(grid.start)}\nPath:"
    )
    return (head + told,)


def _rationale(grid: Grid, moves: Sequence[str], form: Form) -> tuple[Segment, ...]:
    cell: Cell = grid.start
    told: list[str] = []
    drawn: list[np.ndarray] = []
    for move in moves:
        cell = grid.legal(cell)[move]
        told.append(f" {move} {name(cell)}")
        if form.chain in ("drawn", "both"):
            drawn.append(draw(grid, cell, form.size, form.canvas))
    if form.chain == "both":
        return tuple(x for pair in zip(told, drawn, strict=True) for x in pair)
    return tuple(drawn) if form.chain == "drawn" else ("".join(told),) if moves else ()
