"""Drawn states of grids, and their recognition."""

import numpy as np
import pytest

from mmcot_jax.grids import Grid, pictures
from mmcot_jax.tasks import frozenlake, maze

LAKE = Grid(("..x", "...", "x.."), (0, 0), (2, 2), True)


def test_tiles_are_far_from_one_another():
    for side in range(4, 65):
        tiles = [pictures.tile(kind, side, side).astype(int) for kind in pictures.TILES]
        apart = [np.abs(a - b).mean() for i, a in enumerate(tiles) for b in tiles[:i]]
        assert min(apart) > (pictures.TOLERANCE if side in (4, 8, 64) else 21)


def test_a_state_is_one_tile_a_cell():
    drawn = pictures.draw(LAKE, (1, 1), 32, canvas=4)
    assert drawn.shape == (32, 32, 3) and drawn.dtype == np.uint8
    corners = drawn[::8, ::8]
    assert corners[0, 0].tolist() == [255, 255, 255] and corners[0, 2].tolist() == [0, 0, 0]
    assert corners[2, 2].tolist() == [0, 176, 80] and corners[3, 3].tolist() == [128, 128, 128]
    assert drawn[12, 12].tolist() == [255, 64, 64]


@pytest.mark.parametrize("task", [frozenlake, maze])
@pytest.mark.parametrize("size,canvas", [(64, 8), (100, None), (256, None)])
def test_every_state_is_recognised_and_no_other_picture(task, size, canvas):
    for example in task.load(count=2, sizes=(3, 5, 8), split="train"):
        grid = example.extra["grid"]
        cells = [(r, c) for r in range(grid.side) for c in range(grid.side)]
        drawn = {cell: pictures.draw(grid, cell, size, canvas) for cell in cells[::3]}
        for cell, picture in drawn.items():
            noisy = picture.astype(int) + np.random.default_rng(0).integers(-20, 21, picture.shape)
            assert pictures.recognise(grid, picture, canvas) == cell
            assert pictures.recognise(grid, noisy.clip(0, 255), canvas) == cell
            assert pictures.recognise(grid, picture // 2 + 64, canvas) is None
        assert pictures.recognise(grid, pictures.draw(grid, None, size, canvas), canvas) is None
        other = grid._replace(goal=grid.start, start=grid.goal)
        assert pictures.recognise(other, drawn[0, 0], canvas) is None
        assert pictures.recognise(grid, drawn[0, 0][1:], canvas) is None
        assert pictures.recognise(grid, np.zeros((2, 2, 3), np.uint8), canvas) is None
        assert pictures.recognise(grid, None, canvas) is None


def test_faults_of_sizes_are_named():
    with pytest.raises(ValueError, match="canvas is 2 cells, too small for a grid of 3"):
        pictures.draw(LAKE, (0, 0), 32, canvas=2)
    with pytest.raises(ValueError, match="size is 11 pixels for 3 cells along a side; give at"):
        pictures.draw(LAKE, (0, 0), 11)
