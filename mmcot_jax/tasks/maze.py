"""Mazes: the one way between walls from start to goal, in moves told or drawn; no download.

    load(count=1000, sizes=(4, 5))                                  # random walks, in words
    load(count=100, sizes=(4, 5, 6), split="test", chain="none")

Source: chains and scores as in visual planning, arXiv 2505.11409. Here a wall is a cell.
"""

import functools
import random
from typing import Any

from mmcot_jax.example import Example
from mmcot_jax.grids import BLOCKED, FREE, MOVES, Cell
from mmcot_jax.tasks import _grids
from mmcot_jax.tasks._grids import eval_options

EVALUATOR = "planning"
LAZY_IMAGES = False
COSMETIC_OPTIONS = ()


def _around(cell: Cell, side: int) -> list[Cell]:
    found = ((cell[0] + r, cell[1] + c) for r, c in MOVES.values())
    return [(r, c) for r, c in found if 0 <= r < side and 0 <= c < side]


def _sample(side: int, rng: random.Random) -> tuple[str, ...]:
    """Carves a tree of floor out of walls: between two of its cells there is one way."""
    first = rng.randrange(side), rng.randrange(side)
    floor, beside = {first}, dict.fromkeys(_around(first, side), 1)
    # a cell beside exactly one cell of the tree closes no circle
    while edge := [cell for cell, count in beside.items() if count == 1 and cell not in floor]:
        cell = rng.choice(edge)
        floor.add(cell)
        for other in _around(cell, side):
            beside[other] = beside.get(other, 0) + 1
    return tuple(
        "".join(FREE if (r, c) in floor else BLOCKED for c in range(side)) for r in range(side)
    )


MAZE = _grids.Place("maze", _sample, "Maze", "Walls")


stream = functools.partial(_grids.stream, MAZE, sizes=(4, 5))


def load(**options: Any) -> list[Example]:
    """Returns all examples of `stream`, `_grids.stream` with its options."""
    return list(stream(**options))


__all__ = ["MAZE", "eval_options", "load", "stream"]
