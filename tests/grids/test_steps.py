"""Steps through grids, read from words and from pictures."""

import random

import numpy as np
import pytest

from mmcot_jax import rewards
from mmcot_jax.example import Example, Picture, Reply
from mmcot_jax.grids import Grid, distances, name, pictures, shortest, steps
from mmcot_jax.tasks import frozenlake
from mmcot_jax.train import process_rewards

# S . x
# . . .
# x . G
GRID = Grid(("..x", "...", "x.."), (0, 0), (2, 2), True)


def drawn(*cells):
    pixels = [pictures.draw(GRID, cell, 24) for cell in cells]
    return [Picture(np.zeros(9, np.int32), picture) for picture in pixels]


def judge(*segments):
    return steps.judge(GRID, Reply(segments))


def test_distances_are_numbers_of_moves():
    assert shortest(GRID) == 4 and distances(GRID)[1, 1] == 2
    assert (0, 2) not in distances(GRID)
    closed = Grid((".x.", "xx.", "..."), (0, 0), (2, 2))
    with pytest.raises(ValueError, match="no path leads from a1 to c3"):
        shortest(closed)


def test_a_shortest_path_is_exact_in_words_in_pictures_and_in_both():
    told = " right b1 down b2 down b3 right c3"
    states = drawn((0, 1), (1, 1), (2, 1), (2, 2))
    moves = (" right", " down b2", " down", " right c3")
    both = [x for pair in zip(moves, states, strict=True) for x in pair]
    for segments in ([told], states, both, ["Right, then DOWN.\nDown; right!"]):
        found = judge(*segments)
        assert found.exact and found.reached and found.progress_rate == 1.0
        assert found.verdicts == ("progress",) * 4
        assert " ".join(map(name, found.cells)) == "a1 b1 b2 b3 c3"


def test_a_told_cell_may_stand_apart_from_its_move():
    told = " right to b1, down -> b2\nDown: (b3); right, to (C3)."
    assert judge(told).exact
    assert judge(" right towards b9 down: two down right h2o").exact  # no cell is told


def test_a_detour_reaches_the_goal_but_is_not_exact():
    found = judge(" right b1 left a1 right b1 down b2 down b3 right c3")
    assert found.verdicts == ("progress", "legal", "legal", *["progress"] * 3)
    assert found.reached and not found.exact and found.progress_rate == 0.25


@pytest.mark.parametrize(
    "segments",
    [
        [" up"],
        [" right b1 right c1"],
        [" right b2"],
        [" right d1"],
        [" right z5"],
        [" right b10"],
        [" right to c1"],
        [" right (a1)"],
        [" right: a1"],
        [" right -> b2"],
        [" down", *drawn((0, 1))],
        drawn((1, 1)),
        drawn((0, 0)),
        drawn((0, 1), (0, 2)),
        [Picture(np.zeros(9, np.int32))],
        [Picture(np.zeros(3, np.int32), np.zeros((24, 24, 3), np.uint8))],
        [" right down down right right"],
        [" right down down right up"],
    ],
)
def test_an_illegal_step_ends_the_path(segments):
    found = judge(*segments, " down down right")
    assert found.illegal and found.verdicts[-1] == "illegal" and not found.reached
    assert found.unreadable == any(isinstance(s, Picture) for s in segments[:1]) or found.cells


def test_unreadable_pictures_are_told_from_other_faults():
    assert judge(Picture(np.zeros(9, np.int32))).unreadable
    assert not judge(*drawn((1, 1))).unreadable
    assert judge("").verdicts == () and not judge("nowhere").illegal


def test_rewards_are_those_of_the_steps():
    example = Example("x", (), "4", extra={"grid": GRID})
    progress, goal = (rewards.REWARDS[x] for x in ("progress", "goal"))

    def both(*segments):
        reply = Reply(segments)
        return sum(part.value for part in progress(example, reply)), goal(example, reply)

    assert both(" right down down right") == (1.0, 1.0)
    assert both(" right down") == (0.5, 0.0)
    assert both(" right left right left") == (0.25, 0.0)
    assert both(" up") == (-1.25, 0.0)
    assert both(" right left" * 4 + " right down down right") == (4 / 12, 1.0)
    assert both(*drawn((0, 1), (1, 1), (2, 1), (2, 2))) == (1.0, 1.0)
    assert both() == (0.0, 0.0)
    assert rewards.resolve("goal").image_fields == {"pixels"}
    with pytest.raises(ValueError, match="example 'x' has no grid to walk in"):
        goal(example._replace(extra={}), Reply(("up",)))
    there = example._replace(extra={"grid": GRID._replace(start=(2, 2))})
    for reward in (progress, goal):
        with pytest.raises(ValueError, match="the goal c3 is the start"):
            reward(there, Reply(("up",)))


def test_progress_has_a_part_for_each_step():
    example = Example("x", (), "4", extra={"grid": GRID})

    def parts(*segments):
        text = Reply(segments).text
        found = rewards.REWARDS["progress"](example, Reply(segments))
        return [(text[part.start : part.end], part.value) for part in found]

    # it stops early: the two steps that it lacks are of the text after its last one
    early = [("go right b1", 0.25), (", left", 0.0), (" and stop", 0.0), (" and stop", 0.0)]
    assert parts("go right b1, left and stop") == early
    state, there = drawn((0, 1), (1, 1))
    seen = parts("so: right", state, " then ", there, " up down")
    assert seen == [
        ("so: right<image>", 0.25),
        (" then <image>", 0.25),
        (" up", 0.0),
        (" down", 0.0),
    ]
    # what comes after an illegal step is not judged
    assert parts(" right up down right") == [(" right", 0.25), (" up", -1.25), ("", 0.0), ("", 0.0)]
    assert parts("nowhere") == [("nowhere", 0.0)] * 4


def test_a_chain_that_stops_early_is_worse_than_one_that_goes_on():
    example = Example("x", (), "4", extra={"grid": GRID})
    texts = (" right down down right", "I do not know.", " right and stop")
    parts = [rewards.REWARDS["progress"](example, Reply((text,))) for text in texts]
    given = np.array(parts).reshape(1, 3, 1, 4, 3)
    found = process_rewards.spread(process_rewards.advantages(given, np.ones(1), "none"), 22)[0]
    right, silent, early = found
    assert (right > 0).sum() == 22 and (silent[:14] < 0).all() and not silent[14:].any()
    assert (early[:6] > 0).all() and (early[6:15] < 0).all()


def malformed(rng, grids):
    """Random replies: words of steps, other words, states of this grid or another, noise."""
    noise = np.random.default_rng(rng.randrange(2**32))
    words = ["up", "down", "left", "right", "a1", "b3", "h8", "z9", "é", "<image>", "\n", "upright"]
    segments = []
    for _ in range(rng.randrange(6)):
        kind, size = rng.randrange(5), rng.choice((0, 1, 7, 12, 24, 33))
        grid = rng.choice(grids)
        if kind == 0:
            segments.append(Picture(np.zeros(rng.randrange(9), np.int32)))
        elif kind == 1:
            pixels = noise.integers(0, 256, (size, rng.choice((size, 24)), 3)).astype(np.uint8)
            segments.append(Picture(np.zeros(9, np.int32), pixels))
        elif kind == 2:
            cell = rng.randrange(grid.side), rng.randrange(grid.side)
            segments.append(Picture(np.zeros(9, np.int32), pictures.draw(grid, cell, 32, 4)))
        else:
            segments.append(" ".join(rng.choices(words, k=rng.randrange(8))))
    return Reply(tuple(segments))


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_random_replies_are_scored(count):
    rng = random.Random(count)
    examples = frozenlake.load(count=20, sizes=(3, 4), size=32, canvas=4)
    grids = [e.extra["grid"] for e in examples]
    found = set()
    for number in range(count):
        example, reply = examples[number % len(examples)], malformed(rng, grids)
        parts, goal = (rewards.REWARDS[x](example, reply) for x in ("progress", "goal"))
        assert -5.0 <= sum(part.value for part in parts) <= 1.0 and goal in (0.0, 1.0)
        seen = steps.of(example, reply)
        made, lacked = parts[: len(seen.verdicts)], parts[len(seen.verdicts) :]
        ends = [0, *(part.end for part in made), len(reply.text)]
        assert ends == sorted(ends) and [part.start for part in made] == ends[: len(made)]
        rest = (0, 0) if seen.illegal else (ends[-2], ends[-1])
        assert len(parts) >= seen.shortest and all(part == (*rest, 0.0) for part in lacked)
        found.add(seen.verdicts[-1:])
    assert found == {(), ("progress",), ("legal",), ("illegal",)}
