"""Which puzzles a split holds: distinct scenes by seed, or the released records."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Wording

Key = tuple[str, tuple[str, ...]]
"""Caption and sorted options: two puzzles with one key are the same question to a reader."""


class Puzzle(NamedTuple):
    """One puzzle, not painted yet: small, and ready to travel to another process."""

    id: str
    kind: Kind
    word: Wording
    scene: Scene = None
    picture: Path | None = None
    """The released picture, where the puzzle is a released record."""


def key(word: Wording) -> Key:
    """What may not be shared between training and test, as in the study."""
    return word.caption, tuple(sorted(word.options))


def wording(record: Mapping[str, Any]) -> Wording:
    """A released record's fields, options and answer as strings."""
    return Wording(
        question=record["question"],
        options=tuple(str(option) for option in record["options"]),
        answer=str(record["answer"]),
        caption=record["caption"],
        explanation=record["explanation"],
        deduction=record["deduction"],
    )


def released(kind: Kind, folder: Path) -> list[Puzzle]:
    """The released records of a kind: `folder/<kind>.json`, one object a line.

    Raises:
        ValueError: no such file; a record without its picture, or whose answer is no option.
    """
    path = folder / f"{kind.name}.json"
    if not path.is_file():
        raise ValueError(f"no released records of kind {kind.name!r}: {path} is not there")
    puzzles = []
    for i, line in enumerate(path.read_text().splitlines()):
        record = json.loads(line)
        picture, word = folder / record["image"], wording(record)
        if not picture.is_file():
            raise ValueError(f"released record {kind.name} {i} has no picture: {picture} missing")
        if word.answer not in word.options:
            raise ValueError(
                f"released record {kind.name} {i}: answer {word.answer!r} is not among its "
                f"options {list(word.options)}"
            )
        puzzles.append(Puzzle(f"{kind.name}/test/{i:05}", kind, word, picture=picture))
    return puzzles


def _fresh(kind: Kind, seed: str) -> Iterator[tuple[Scene, Wording]]:
    # Nothing new in 20 draws for every puzzle found: the chance that one of n equally likely
    # puzzles is still hidden then is about exp(-20).
    rng = random.Random(seed)
    seen: set[Scene] = set()
    vain = 0
    while vain < 20 * (len(seen) + 50):
        scene = kind.sample(rng)
        vain = vain + 1 if scene in seen else 0
        if vain == 0:
            seen.add(scene)
            yield scene, kind.word(scene)


def drawn(
    kind: Kind,
    split: str,
    count: int,
    *,
    seed: str,
    without: frozenset[Key] = frozenset(),
    without_scenes: frozenset[Scene] = frozenset(),
) -> list[Puzzle]:
    """The first `count` distinct puzzles of a seed that are not `without`.

    Raises:
        ValueError: the kind has fewer; says how many.
    """
    puzzles: list[Puzzle] = []
    for scene, word in _fresh(kind, seed):
        if scene in without_scenes or key(word) in without:
            continue
        puzzles.append(Puzzle(f"{kind.name}/{split}/{len(puzzles):05}", kind, word, scene))
        if len(puzzles) == count:
            return puzzles
    left = " once the questions of the test set are taken out" if without or without_scenes else ""
    raise ValueError(
        f"kind {kind.name!r} has {len(puzzles)} distinct puzzles{left}, fewer than the {count} "
        f"asked for; lower count, or leave the kind out"
    )


def held_out(kind: Kind, count: int) -> list[Puzzle]:
    """Our own test puzzles: the same for every run, whatever its seed."""
    return drawn(kind, "test", count, seed=f"{kind.name}/test")


def test_set(kind: Kind, count: int, folder: Path | None) -> list[Puzzle]:
    """What no other split may hold: the released records, or else our own puzzles."""
    return released(kind, folder) if folder else held_out(kind, count)


def validation(kind: Kind, count: int, test: Sequence[Puzzle]) -> list[Puzzle]:
    """Puzzles to choose by, so that the test set is not: the same for every run."""
    seed = f"{kind.name}/validation"
    return drawn(kind, "validation", count, seed=seed, **_other_than(kind, test))


def train_set(kind: Kind, count: int, *, seed: int, without: Sequence[Puzzle]) -> list[Puzzle]:
    """Puzzles to learn from, none of them a question of `without`."""
    seed = f"{kind.name}/train/{seed}"
    return drawn(kind, "train", count, seed=seed, **_other_than(kind, without))


def _other_than(kind: Kind, puzzles: Sequence[Puzzle]) -> dict[str, frozenset]:
    """Where the caption does not fix the picture (no `fill`), a kind has only tens of keys.

    There drawn puzzles are compared by their scenes, and released ones not at all, as in the study.
    """
    if kind.fill:
        return {"without": frozenset(key(p.word) for p in puzzles)}
    return {"without_scenes": frozenset(p.scene for p in puzzles if p.scene)}
