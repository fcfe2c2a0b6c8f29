"""Grids with a start, a goal and blocked cells: moves, distances, cells named in words. Host only.

A cell is (row, column) from the top left, and "b3" in words: the second column, the third row.
"""

import functools
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

Cell = tuple[int, int]

MOVES: dict[str, Cell] = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
MIN_SIDE, MAX_SIDE = 3, 8
COLUMNS = "abcdefgh"
FREE, BLOCKED = ".", "x"


class Grid(NamedTuple):
    """A square grid and the way to find in it."""

    rows: tuple[str, ...]
    """A string a row, `FREE` or `BLOCKED` a cell."""
    start: Cell
    goal: Cell
    enterable: bool = False
    """True: a move into a blocked cell leads there, as into a hole; False: it is a wall."""

    @property
    def side(self) -> int:
        """Number of rows, and of columns."""
        return len(self.rows)

    def contains(self, cell: Cell) -> bool:
        """True if the cell lies in the grid."""
        return 0 <= cell[0] < self.side and 0 <= cell[1] < self.side

    def is_free(self, cell: Cell) -> bool:
        """True for a cell of the grid that may be entered."""
        return self.contains(cell) and self.rows[cell[0]][cell[1]] == FREE

    def legal(self, cell: Cell) -> dict[str, Cell]:
        """Returns the legal moves from a cell and the cells that they lead to."""
        reached = {move: (cell[0] + r, cell[1] + c) for move, (r, c) in MOVES.items()}
        return {move: to for move, to in reached.items() if self.is_free(to)}


@functools.lru_cache(maxsize=65536)
def distances(grid: Grid) -> Mapping[Cell, int]:
    """Returns the number of moves from each cell to the goal; a cell that has no path is absent."""
    found, queue = {grid.goal: 0}, deque([grid.goal])
    while queue:
        cell = queue.popleft()
        for to in grid.legal(cell).values():
            if to not in found:
                found[to] = found[cell] + 1
                queue.append(to)
    return found


def shortest(grid: Grid) -> int:
    """Returns the number of moves of a shortest path from start to goal.

    Raises:
        ValueError: there is no path.
    """
    if grid.start not in distances(grid):
        raise ValueError(
            f"no path leads from {name(grid.start)} to {name(grid.goal)} in {'/'.join(grid.rows)}; "
            "give a grid that can be solved"
        )
    return distances(grid)[grid.start]


def name(cell: Cell) -> str:
    """Returns a cell in words: column a to h, row 1 to 8."""
    return f"{COLUMNS[cell[1]]}{cell[0] + 1}"


def cell_of(word: str) -> Cell:
    """Returns the cell of `name`."""
    return int(word[1]) - 1, COLUMNS.index(word[0])


def blocked_map(grid: Grid) -> np.ndarray:
    """Returns bool [side side], True for a blocked cell."""
    return np.array([[c == BLOCKED for c in row] for row in grid.rows])
