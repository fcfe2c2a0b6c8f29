"""Scenes of shapes: repeatable, drawn within their boxes, described in words."""

import random

import numpy as np
import pytest

from mmcot_jax.boxes import Box, Space
from mmcot_jax.tasks.shapes import world
from mmcot_jax.tasks.shapes.world import Thing

RED = Thing("red", "circle", 0, 1, 2, 6)
BLUE = Thing("blue", "square", 5, 16, 9, 7)


def test_a_box_is_the_things_edges_in_pixels():
    assert RED.box(24) == Box("red circle", 1, 2, 7, 8, Space("original", 24, 24))
    assert RED.box(112)[1:5] == (5, 9, 33, 37)
    assert BLUE.box(48).notation == "[32,18,46,32 blue square]"


def test_a_description_names_things_in_reading_order():
    words = "A red circle is at the top left. A blue square is at the right."
    assert world.describe((RED, BLUE)) == words
    assert (RED.row, RED.column, BLUE.row, BLUE.column) == (0, 0, 1, 2)


def test_a_seed_gives_one_scene_of_distinct_things_within_their_cells():
    for seed in range(50):
        scene = world.sample(random.Random(seed))
        assert scene == world.sample(random.Random(seed))
        assert 1 <= len(scene) <= world.MAX_THINGS
        assert len({thing.name for thing in scene}) == len(scene)
        assert sorted({thing.cell for thing in scene}) == [thing.cell for thing in scene]
        for thing in scene:
            assert 8 * thing.column <= thing.x and thing.x + thing.side <= 8 * (thing.column + 1)
            assert 8 * thing.row <= thing.y and thing.y + thing.side <= 8 * (thing.row + 1)


@pytest.mark.parametrize("size", [24, 64, 112])
def test_the_pixels_of_a_colour_end_exactly_at_the_box(size):
    for seed in range(20):
        scene = world.sample(random.Random(seed))
        picture = world.draw(scene, size)
        assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
        outside = np.ones((size, size), bool)
        for thing in scene:
            x0, y0, x1, y1 = thing.box(size)[1:5]
            inside = (picture[y0:y1, x0:x1] != 255).any(-1)
            assert inside.any(0).all() and inside.any(1).all()
            outside[y0:y1, x0:x1] = False
            middle = picture[(2 * y1 + y0) // 3, (x0 + x1) // 2]
            assert "#{:02x}{:02x}{:02x}".format(*middle) == world.COLORS[thing.color]
        assert (picture[outside] == 255).all()
