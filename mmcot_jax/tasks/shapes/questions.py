"""Questions about a scene of shapes: text, options, answer, relevant things, reason."""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mmcot_jax.tasks.shapes.world import (
    CELLS,
    COLORS,
    MAX_THINGS,
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
"""Possible answers about a described scene."""


class SceneQuestion(NamedTuple):
    """A question about a scene."""

    scene: Scene
    text: str
    options: tuple[str, ...]
    answer: str
    """One of the options."""
    relevant: tuple[Thing, ...]
    """The things that decide the answer."""
    reason: str
    """The fact that decides it: "The circle is red."."""
    location: str = ""
    """A sentence with a `{}` for the box of each relevant thing: "The circle is at {}."."""


def color(rng: random.Random) -> SceneQuestion:
    """Returns a "What color is the circle?" about the only circle."""
    shape = rng.choice(SHAPES)
    scene = _sample_until(rng, lambda s: sum(t.shape == shape for t in s) == 1)
    thing = next(t for t in scene if t.shape == shape)
    options = rng.sample(list(COLORS), len(COLORS))
    reason = f"The {shape} is {thing.color}."
    location = f"The {shape} is at {{}}."
    text = f"What color is the {shape}?"
    return SceneQuestion(scene, text, tuple(options), thing.color, (thing,), reason, location)


def color_at(rng: random.Random) -> SceneQuestion:
    """Returns a "What color is the shape at the top left?"; it needs no search."""
    scene = sample(rng)
    thing = rng.choice(scene)
    cell = CELLS[thing.cell]
    options = rng.sample(list(COLORS), len(COLORS))
    text = f"What color is the shape at the {cell}?"
    location, reason = f"The shape at the {cell} is {{}}.", f"It is {thing.color}."
    return SceneQuestion(scene, text, tuple(options), thing.color, (thing,), reason, location)


def count(rng: random.Random) -> SceneQuestion:
    """Returns a "How many circles are there?"; 1 to 4 are equally frequent."""
    shape, number = rng.choice(SHAPES), rng.randint(1, MAX_THINGS)
    others = rng.sample([name for name in NAMES if name[1] != shape], MAX_THINGS - number)
    names = [(color, shape) for color in rng.sample(list(COLORS), number)]
    names += others[: rng.randint(0, MAX_THINGS - number)]
    scene = arrange(rng, rng.sample(names, len(names)))
    relevant = tuple(t for t in scene if t.shape == shape)
    options = rng.sample([str(n) for n in range(1, MAX_THINGS + 1)], MAX_THINGS)
    reason = f"{'That is' if number == 1 else 'Those are'} {number} {shape}{'s' * (number > 1)}."
    location = f"The {shape}{'s are' if number > 1 else ' is'} at {join_words(['{}'] * number)}."
    text = f"How many {shape}s are there?"
    return SceneQuestion(scene, text, tuple(options), str(number), relevant, reason, location)


def place(rng: random.Random) -> SceneQuestion:
    """Returns a "Where is the red circle, seen from the blue square?", both in one row or column.

    No two things of the scene have the same colour.
    """
    direction = rng.choice(DIRECTIONS)

    def pairs(scene: Scene) -> list[tuple[Thing, Thing]]:
        return _distinct_colors(scene) * [
            (a, b)
            for a in scene
            for b in scene
            if holds(a, direction, b) and (a.row == b.row or a.column == b.column)
        ]

    scene = _sample_until(rng, pairs, least=2)
    one, other = rng.choice(pairs(scene))
    options = rng.sample(DIRECTIONS, len(DIRECTIONS))
    text = f"Where is the {one.name}, seen from the {other.name}?"
    reason = f"The {one.name} is {_WORDED[direction]} the {other.name}."
    location = f"The {one.name} is at {{}} and the {other.name} at {{}}."
    return SceneQuestion(scene, text, tuple(options), direction, (one, other), reason, location)


def yes_no(rng: random.Random) -> SceneQuestion:
    """Returns an "Is the red circle left of the blue square?", which the description decides too.

    No two things of the scene have the same colour, so that a colour identifies a thing. The two
    differ in the direction in question. Yes and No are equally frequent.
    """
    direction, answer = rng.choice(DIRECTIONS), rng.choice(CANDIDATES)
    opposite = dict(zip(DIRECTIONS, ("right", "left", "below", "above"), strict=True))[direction]
    true = direction if answer == "Yes" else opposite
    scene = _sample_until(
        rng,
        lambda s: _distinct_colors(s) and any(holds(a, true, b) for a in s for b in s),
        least=2,
    )
    one, other = rng.choice([(a, b) for a in scene for b in scene if holds(a, true, b)])
    text = f"Is the {one.name} {_WORDED[direction]} the {other.name}?"
    reason = f"It is {_WORDED[true]}."
    return SceneQuestion(scene, text, CANDIDATES, answer, (one, other), reason)


KINDS: dict[str, Callable[[random.Random], SceneQuestion]] = {
    "color": color,
    "color_at": color_at,
    "count": count,
    "place": place,
}
"""Questions about a picture, by kind."""


def join_words(words: Sequence[str]) -> str:
    """Returns "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def holds(one: Thing, direction: str, other: Thing) -> bool:
    """Returns whether `one` lies in a direction of `other`, by column or by row."""
    here, there = (
        (thing.cell % 3 if direction in ("left", "right") else thing.cell // 3)
        for thing in (one, other)
    )
    return here < there if direction in ("left", "above") else here > there


def _distinct_colors(scene: Scene) -> bool:
    return len({thing.color for thing in scene}) == len(scene)


def _sample_until(rng: random.Random, fits: Callable[[Scene], object], least: int = 1) -> Scene:
    while not fits(scene := sample(rng, least)):
        pass
    return scene
