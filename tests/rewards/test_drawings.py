"""The reward for the things that a painted picture shows."""

import random

import numpy as np
import pytest
from PIL import ImageColor

from mmcot_jax.example import Example, Picture, Reply
from mmcot_jax.rewards import drawings, resolve
from mmcot_jax.tasks import scenes
from mmcot_jax.tasks.shapes import world

IDS = np.arange(8, dtype=np.int32)


def reward(scene, *painted):
    example = Example("q", ("",), "Yes", extra={"picture": world.draw(scene, 48)})
    segments = [x for pixels in painted for x in (Picture(IDS, pixels=pixels), "a")]
    return resolve("image_objects").function(example, Reply(tuple(segments)))


def moved(scene, rng):
    """The same things at another place in their cells, of another size."""
    names = [(t.color, t.shape) for t in scene]
    things = world.arrange(rng, names)
    return tuple(
        t._replace(cell=s.cell, x=8 * s.column + t.x % 8, y=8 * s.row + t.y % 8)
        for s, t in zip(scene, things, strict=True)
    )


@pytest.mark.parametrize("size", [24, 48, 112])
def test_every_thing_of_a_drawn_scene_is_found(size):
    rng = random.Random(0)
    for scene in (world.sample(rng) for _ in range(60)):
        found = drawings.things(world.draw(scene, size))
        assert set(found) == {(t.row, t.column) for t in scene}
        for thing in scene:
            true = ImageColor.getrgb(world.COLORS[thing.color])
            # a thing of 5 pixels has a fifth of them on its edge, mixed with white
            assert np.abs(found[thing.row, thing.column].color - true).max() < 10


def test_place_and_size_within_a_cell_do_not_matter_and_another_scene_scores_less():
    rng, others = random.Random(1), []
    for scene in (world.sample(rng) for _ in range(100)):
        assert reward(scene, world.draw(moved(scene, rng), 48)) == 1.0
        others.append(reward(scene, world.draw(world.sample(rng), 48)))
    assert np.mean(others) < 0.1


RED, BLUE = (world.Thing(c, "square", cell, 0, 0, 6) for c, cell in (("red", 0), ("blue", 1)))
BLUE = BLUE._replace(x=8)


@pytest.mark.parametrize(
    ("painted", "expected"),
    [
        ((RED, BLUE), 1.0),
        ((RED,), 1 / 2),
        ((RED, BLUE._replace(color="yellow")), 1 / 2),
        ((RED, BLUE._replace(shape="circle")), 1 / 2),
        ((RED, BLUE._replace(shape="triangle")), 1 / 2),
        ((RED, BLUE._replace(x=16)), 1 / 3),
        ((RED, BLUE, RED._replace(y=16)), 2 / 3),
        ((), 0.0),
    ],
)
def test_the_score_is_equal_cells_among_those_with_a_thing_in_either(painted, expected):
    assert reward((RED, BLUE), world.draw(painted, 48)) == pytest.approx(expected)


def test_what_cannot_be_painted_counts_nothing():
    true = world.draw((RED,), 48)
    assert reward((RED,)) == 0.0
    assert reward((RED,), None) == 0.0
    assert reward((RED,), true, None) == 0.5
    assert reward((), world.draw((), 48)) == 1.0
    assert resolve("image_objects").image_fields == {"pixels"}


@pytest.mark.parametrize("picture", [None, "a.png", np.zeros((6, 6), np.uint8), np.ones((6, 6, 3))])
def test_an_example_without_a_true_picture_is_named(picture):
    example = Example("q", ("",), "Yes", extra={} if picture is None else {"picture": picture})
    with pytest.raises(ValueError, match=r"'q' has no extra\['picture'\], uint8 \[H W 3\]"):
        drawings.image_objects(example, Reply(()))


def test_the_scenes_have_their_true_picture():
    example = scenes.load(count=1, size=48)[0]
    reply = Reply((Picture(IDS, pixels=example.extra["picture"]), "a"))
    assert drawings.image_objects(example, reply) == 1.0
