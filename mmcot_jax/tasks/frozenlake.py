"""FrozenLake: a way over ice, around holes, in moves told or drawn; nothing is downloaded.

    load(count=1000, sizes=(3, 4))                                  # random walks, in words
    load(count=200, sizes=(3, 4, 5), split="test", chain="none")

Source: the game is Gymnasium's; the task, its chains and its scores are those of visual planning,
arXiv 2505.11409. Start and goal may be any two cells of ice.
"""

import functools
import random
from typing import Any

from mmcot_jax.example import Example
from mmcot_jax.grids import BLOCKED, FREE
from mmcot_jax.tasks import _grids
from mmcot_jax.tasks._grids import eval_options

EVALUATOR = "planning"
LAZY_IMAGES = False
COSMETIC_OPTIONS = ()


def _sample(side: int, rng: random.Random) -> tuple[str, ...]:
    """Draws a lake with up to a third of its cells holes, each number as likely."""
    cells = range(side * side)
    holes = set(rng.sample(cells, rng.randint(0, side * side // 3)))
    marks = "".join(BLOCKED if i in holes else FREE for i in cells)
    return tuple(marks[i : i + side] for i in range(0, side * side, side))


LAKE = _grids.Place("frozenlake", _sample, "Lake", "Holes", enterable=True)


stream = functools.partial(_grids.stream, LAKE)


def load(**options: Any) -> list[Example]:
    """Returns all examples of `stream`, `_grids.stream` with its options."""
    return list(stream(**options))


__all__ = ["LAKE", "eval_options", "load", "stream"]
