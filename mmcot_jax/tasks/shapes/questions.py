"""What can be asked about a scene of shapes: options, answer, and what follows from looking."""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mmcot_jax.tasks.shapes.world import (
    CELLS,
    COLORS,
    MOST,
    NAMES,
    SHAPES,
    Scene,
    Thing,
    arrange,
    sample,
)

DIRECTIONS = ("left", "right", "above", "below")
_WORDED = {"left": "left of", "right": "right of", "above": "above", "below": "below"}
CANDIDATES = ("Yes", "No")
"""Answers to a question about a described scene."""


class Question(NamedTuple):
    """A scene and what is asked about it."""

    scene: Scene
    text: str
    options: tuple[str, ...]
    answer: str
    """One of the options."""
    seen: tuple[Thing, ...]
    """The things that have to be looked at."""
    reason: str
    """What follows from looking at them: "The circle is red."."""
    looked: str = ""
    """Where they are, boxes left out, what is looked for first: "The circle is at {}."."""


def color(rng: random.Random) -> Question:
    """ "What color is the circle?", of the only circle there is."""
    shape = rng.choice(SHAPES)
    scene = _until(rng, lambda s: sum(t.shape == shape for t in s) == 1)
    thing = next(t for t in scene if t.shape == shape)
    options = rng.sample(list(COLORS), len(COLORS))
    reason = f"The {shape} is {thing.color}."
    looked = f"The {shape} is at {{}}."
    return Question(
        scene, f"What color is the {shape}?", tuple(options), thing.color, (thing,), reason, looked
    )


def color_at(rng: random.Random) -> Question:
    """ "What color is the shape at the top left?", of one that is there: it needs no search."""
    scene = sample(rng)
    thing = rng.choice(scene)
    cell = CELLS[thing.cell]
    options = rng.sample(list(COLORS), len(COLORS))
    text = f"What color is the shape at the {cell}?"
    looked, reason = f"The shape at the {cell} is {{}}.", f"It is {thing.color}."
    return Question(scene, text, tuple(options), thing.color, (thing,), reason, looked)


def count(rng: random.Random) -> Question:
    """ "How many circles are there?", 1 to 4 equally often."""
    shape, number = rng.choice(SHAPES), rng.randint(1, MOST)
    others = rng.sample([name for name in NAMES if name[1] != shape], MOST - number)
    names = [(color, shape) for color in rng.sample(list(COLORS), number)]
    names += others[: rng.randint(0, MOST - number)]
    scene = arrange(rng, rng.sample(names, len(names)))
    seen = tuple(t for t in scene if t.shape == shape)
    options = rng.sample([str(n) for n in range(1, MOST + 1)], MOST)
    reason = f"{'That is' if number == 1 else 'Those are'} {number} {shape}{'s' * (number > 1)}."
    looked = f"The {shape}{'s are' if number > 1 else ' is'} at {listed(['{}'] * number)}."
    return Question(
        scene, f"How many {shape}s are there?", tuple(options), str(number), seen, reason, looked
    )


def place(rng: random.Random) -> Question:
    """ "Where is the red circle, seen from the blue square?", of two in one row or column.

    No two things of the scene have one colour.
    """
    direction = rng.choice(DIRECTIONS)

    def pairs(scene: Scene) -> list[tuple[Thing, Thing]]:
        return _coloured(scene) * [
            (a, b)
            for a in scene
            for b in scene
            if holds(a, direction, b) and (a.row == b.row or a.column == b.column)
        ]

    scene = _until(rng, pairs, least=2)
    one, other = rng.choice(pairs(scene))
    options = rng.sample(DIRECTIONS, len(DIRECTIONS))
    text = f"Where is the {one.name}, seen from the {other.name}?"
    reason = f"The {one.name} is {_WORDED[direction]} the {other.name}."
    looked = f"The {one.name} is at {{}} and the {other.name} at {{}}."
    return Question(scene, text, tuple(options), direction, (one, other), reason, looked)


def yes_no(rng: random.Random) -> Question:
    """ "Is the red circle left of the blue square?", which the description decides as well.

    No two things of the scene have one colour: a colour alone says which is meant. The two differ
    in the direction that is asked about; yes and no are equally often right.
    """
    direction, answer = rng.choice(DIRECTIONS), rng.choice(CANDIDATES)
    opposite = dict(zip(DIRECTIONS, ("right", "left", "below", "above"), strict=True))[direction]
    true = direction if answer == "Yes" else opposite
    scene = _until(
        rng,
        lambda s: _coloured(s) and any(holds(a, true, b) for a in s for b in s),
        least=2,
    )
    one, other = rng.choice([(a, b) for a in scene for b in scene if holds(a, true, b)])
    text = f"Is the {one.name} {_WORDED[direction]} the {other.name}?"
    reason = f"It is {_WORDED[true]}."
    return Question(scene, text, CANDIDATES, answer, (one, other), reason)


KINDS: dict[str, Callable[[random.Random], Question]] = {
    "color": color,
    "color_at": color_at,
    "count": count,
    "place": place,
}
"""Questions about a picture, by kind."""


def listed(words: Sequence[str]) -> str:
    """ "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def holds(one: Thing, direction: str, other: Thing) -> bool:
    """Whether `one` lies in a direction of `other`: its column, or row, comes before or after."""
    here, there = (
        (thing.cell % 3 if direction in ("left", "right") else thing.cell // 3)
        for thing in (one, other)
    )
    return here < there if direction in ("left", "above") else here > there


def _coloured(scene: Scene) -> bool:
    """Whether a colour alone says which thing is meant."""
    return len({thing.color for thing in scene}) == len(scene)


def _until(rng: random.Random, fits: Callable[[Scene], object], least: int = 1) -> Scene:
    while not fits(scene := sample(rng, least)):
        pass
    return scene
