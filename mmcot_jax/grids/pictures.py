"""Draws the state of a grid, and recognises it in a decoded picture. numpy only.

Every cell is one tile: what it is, and if the agent stands there. A grid may lie at the top left of
a larger canvas, so that grids of several sizes have tiles of one size.
Axes: H W pixels, T tiles.
"""

import functools
import itertools

import numpy as np

from mmcot_jax.grids import Cell, Grid, blocked_map

OUTSIDE, FLOOR, OBSTACLE, GOAL = range(4)
"""Kinds of cells. With the agent a tile's number is larger by `AGENT`."""
AGENT = 4
TILES = (OUTSIDE, FLOOR, OBSTACLE, GOAL, FLOOR + AGENT, OBSTACLE + AGENT, GOAL + AGENT)

_COLORS = {
    OUTSIDE: (128, 128, 128),
    FLOOR: (255, 255, 255),
    OBSTACLE: (0, 0, 0),
    GOAL: (0, 176, 80),
}
_RED = (255, 64, 64)

TOLERANCE = 28.0
"""Largest mean difference, of 255, between a cell and its tile. Two tiles differ by 21 or more, and
the nearest one is taken."""


@functools.lru_cache(maxsize=256)
def tile(kind: int, height: int, width: int) -> np.ndarray:
    """Returns a cell's picture, uint8 [height width 3]; the agent is a red square in the middle."""
    picture = np.full((height, width, 3), _COLORS[kind % AGENT], np.uint8)
    if kind >= AGENT:
        top, left = max(1, height // 8), max(1, width // 8)
        picture[top : height - top, left : width - left] = _RED
    picture.setflags(write=False)
    return picture


def tiles(grid: Grid, at: Cell | None, canvas: int | None = None) -> np.ndarray:
    """Returns the tiles of a grid with the agent at a cell, or without: int [canvas canvas].

    Raises:
        ValueError: the grid does not fit on the canvas.
    """
    canvas = canvas or grid.side
    if canvas < grid.side:
        raise ValueError(
            f"canvas is {canvas} cells, too small for a grid of {grid.side}; give at least that"
        )
    found = np.full((canvas, canvas), OUTSIDE)
    found[: grid.side, : grid.side] = np.where(blocked_map(grid), OBSTACLE, FLOOR)
    found[grid.goal] = GOAL
    if at is not None:
        found[at] += AGENT
    return found


def draw(grid: Grid, at: Cell | None, size: int, canvas: int | None = None) -> np.ndarray:
    """Returns the picture of a state, uint8 [size size 3].

    Raises:
        ValueError: as `tiles`, or cells of less than 4 pixels.
    """
    kinds = tiles(grid, at, canvas)
    check_size(size, len(kinds))
    picture = np.empty((size, size, 3), np.uint8)
    edges = _edges(size, len(kinds))
    for r, row in enumerate(kinds):
        for c, kind in enumerate(row):
            (top, bottom), (left, right) = edges[r], edges[c]
            picture[top:bottom, left:right] = tile(int(kind), bottom - top, right - left)
    return picture


def check_size(size: int, canvas: int) -> None:
    """Raises a `ValueError` if cells have less than 4 pixels along a side."""
    if size < 4 * canvas:
        raise ValueError(
            f"size is {size} pixels for {canvas} cells along a side; give at least {4 * canvas}"
        )


def recognise(grid: Grid, picture: np.ndarray | None, canvas: int | None = None) -> Cell | None:
    """Returns the agent's cell in a picture of a grid, or None if the picture is unreadable.

    It is readable if every cell is within `TOLERANCE` of a tile, one tile has the agent, and the
    others are those of the grid.
    """
    side = canvas or grid.side
    if picture is None or picture.ndim != 3 or picture.shape[2] != 3:
        return None
    size = len(picture)
    if picture.shape[1] != size or size < 4 * side:
        return None
    kinds = _kinds(picture, side)
    with_agent = np.argwhere(kinds >= AGENT)
    if len(with_agent) != 1:
        return None
    cell = int(with_agent[0][0]), int(with_agent[0][1])
    return cell if np.array_equal(kinds, tiles(grid, cell, canvas)) else None


def _kinds(picture: np.ndarray, canvas: int) -> np.ndarray:
    """The nearest tile of every cell, int [canvas canvas]; -1 where none is near."""
    found, edges = np.full((canvas, canvas), -1), _edges(len(picture), canvas)
    for r, (top, bottom) in enumerate(edges):
        for c, (left, right) in enumerate(edges):
            cell = picture[top:bottom, left:right].astype(np.int16)
            apart = np.abs(cell - _templates(bottom - top, right - left)).mean((1, 2, 3))
            if apart.min() <= TOLERANCE:
                found[r, c] = TILES[int(apart.argmin())]
    return found


@functools.lru_cache(maxsize=64)
def _templates(height: int, width: int) -> np.ndarray:
    """The tiles, int16 [T height width 3]."""
    return np.stack([tile(kind, height, width) for kind in TILES]).astype(np.int16)


@functools.lru_cache(maxsize=64)
def _edges(size: int, canvas: int) -> list[tuple[int, int]]:
    marks = [round(i * size / canvas) for i in range(canvas + 1)]
    return list(itertools.pairwise(marks))
