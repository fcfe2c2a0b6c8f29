"""Questions about lakes and mazes: layouts, splits, taught chains."""

import numpy as np
import pytest

from mmcot_jax.example import Picture, Reply
from mmcot_jax.grids import FREE, distances, name, shortest, steps
from mmcot_jax.tasks import frozenlake, maze

TASKS = pytest.mark.parametrize("task", [frozenlake, maze])


def replied(example):
    """The rationale as a reply whose pictures are decoded."""
    ids = np.zeros(9, np.int32)
    return Reply(tuple(s if isinstance(s, str) else Picture(ids, s) for s in example.rationale))


@TASKS
def test_a_grid_is_told_by_its_blocked_cells(task):
    title, blocked = {frozenlake: ("Lake", "Holes"), maze: ("Maze", "Walls")}[task]
    for example in task.load(count=20, sizes=(3,), walk="optimal", max_steps=9):
        grid = example.extra["grid"]
        head, cells, goal, start, path = example.prompt[0].split("\n")
        assert (head, path) == (f"{title} of 3 rows.", "Path:")
        names = [name((r, c)) for r in range(3) for c in range(3) if grid.rows[r][c] != FREE]
        assert cells.split() == [blocked, *(names or ["none"])]
        assert (goal, start) == (f"Goal {name(grid.goal)}", f"Start {name(grid.start)}")
        assert example.answer == str(shortest(grid))


@TASKS
@pytest.mark.parametrize("chain", ["drawn", "textual", "both"])
def test_taught_chains_are_legal_and_optimal_ones_exact(task, chain):
    options = {"count": 20, "sizes": (3, 5), "size": 40, "canvas": 5, "chain": chain}
    walks, paths = (task.load(**options, walk=walk) for walk in ("random", "optimal"))
    for example in walks:
        found = steps.of(example, replied(example))
        assert not found.illegal and len(found.verdicts) <= 2 * example.extra["side"]
        assert found.reached or len(found.verdicts) == 2 * example.extra["side"]
    assert all(steps.of(e, replied(e)).exact for e in paths)
    exact = sum(steps.of(e, replied(e)).exact for e in walks)
    assert exact < len(walks) / 2
    pictures = [s for s in walks[0].rationale if not isinstance(s, str)]
    assert (chain == "textual") == (not pictures)
    assert [e.extra["grid"] for e in walks] == [e.extra["grid"] for e in paths]


@TASKS
def test_a_question_may_be_a_picture(task):
    example = task.load(count=1, size=64, question="picture", chain="none")[0]
    head, picture, path = example.prompt
    assert head.endswith("rows.\n") and path == "\nPath:" and picture.shape == (64, 64, 3)
    assert example.rationale == ()


@TASKS
def test_no_layout_of_one_split_is_in_another(task):
    splits = {
        s: task.load(count=30, sizes=(4, 6), split=s) for s in ("train", "validation", "test")
    }
    layouts = {s: {e.extra["grid"].rows for e in of} for s, of in splits.items()}
    assert not layouts["train"] & layouts["test"] and not layouts["validation"] & layouts["test"]
    assert not layouts["train"] & layouts["validation"]
    grids = {s: [e.extra["grid"] for e in of] for s, of in splits.items()}
    assert all(len(set(of)) == 60 for of in grids.values())
    again = task.load(count=30, sizes=(4, 6), split="test", seed=9)
    assert [e.extra["grid"] for e in again] == grids["test"]
    assert [e.extra["grid"] for e in task.load(count=30, sizes=(4, 6), seed=9)] != grids["train"]


def test_a_maze_has_one_way():
    for example in maze.load(count=10, sizes=(4, 7)):
        grid = example.extra["grid"]
        free = [(r, c) for r in range(grid.side) for c in range(grid.side) if grid.is_free((r, c))]
        assert sum(row.count(FREE) for row in grid.rows) == len(distances(grid)) == len(free)
        assert sum(len(grid.legal(cell)) for cell in free) == 2 * (len(free) - 1)  # a tree


def test_sides_that_training_saw_are_marked():
    given = {"count": 1, "sizes": (3, 5, 6)}
    trained = [{"sizes": (3, 4)}, {"sizes": (4, 5)}]
    found = frozenlake.load(**frozenlake.eval_options(given, {}, trained))
    assert [e.extra["domain"] for e in found] == ["seen", "seen", "unseen"]
    assert frozenlake.eval_options({"count": 1}, {}, []) == {"count": 1}


@pytest.mark.parametrize(
    "task,options,least",
    [
        (maze, {"count": 2, "sizes": (6,), "split": "test", "min_moves": 15}, 15),
        (frozenlake, {"count": 14, "sizes": (3,), "split": "test", "min_moves": 4}, 4),  # all
        (frozenlake, {"count": 192, "sizes": (3,), "split": "test"}, 2),  # all
    ],
)
def test_rare_questions_are_found(task, options, least):
    found = [e.extra["grid"] for e in task.load(**options, chain="none")]
    assert len(set(found)) == options["count"]
    assert min(map(shortest, found)) >= least


def test_paths_are_as_long_as_asked():
    found = frozenlake.load(count=50, sizes=(4,), min_moves=3, max_moves=4)
    assert {shortest(e.extra["grid"]) for e in found} == {3, 4}


@pytest.mark.parametrize(
    "options,said",
    [
        ({"chain": "draw"}, "chain"),
        ({"walk": "best"}, "walk"),
        ({"split": "dev"}, "split"),
        ({"question": "drawn"}, "question"),
        ({"count": 0}, "count is 0; give a whole number, 1 or more"),
        ({"sizes": (2, 9)}, r"sizes are \(2, 9\); give sides of 3 to 8 cells"),
        ({"sizes": ()}, "sizes are"),
        ({"sizes": (3, 3)}, r"sizes are \(3, 3\); give sides of 3 to 8 cells, each once"),
        ({"max_steps": 0}, "max_steps is 0; give a whole number, 1 or more"),
        ({"canvas": 3}, "canvas is 3 cells and a grid has 4"),
        ({"size": 8}, "size is 8 pixels for 4 cells along a side; give at least 16"),
        (
            {"sizes": (3,), "min_moves": 9},
            "too few grids of side 3 for train .* of 9 or more",
        ),
        ({"sizes": (3,), "min_moves": 8, "max_moves": 7}, "max_moves is 7 and min_moves 8"),
        ({"count": True}, "count is True; give a whole number"),
    ],
)
def test_faults_of_options_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        frozenlake.stream(**{"count": 1, **options})
