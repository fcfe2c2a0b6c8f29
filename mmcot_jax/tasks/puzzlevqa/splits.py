"""The puzzles of a split: distinct scenes sampled by a seed, or the released records."""

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax.tasks import _images as images
from mmcot_jax.tasks import _records as records
from mmcot_jax.tasks import _schema as schema
from mmcot_jax.tasks import _sources as sources
from mmcot_jax.tasks._records import RAISE, Gate
from mmcot_jax.tasks._schema import BadRecord
from mmcot_jax.tasks._sources import Raw
from mmcot_jax.tasks.puzzlevqa.chain import LETTERS
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Wording

SCHEMA = {
    "question": schema.text,
    "options": schema.list_of(schema.text_or_number),
    "answer": schema.text_or_number,
    "caption": schema.string,
    "explanation": schema.string,
    "deduction": schema.string,
}
"""The texts of a released record; it also has an `image`."""
Key = tuple[str, tuple[str, ...]]
"""Caption and sorted options: two puzzles with equal keys are the same question to a reader."""


class Puzzle(NamedTuple):
    """One puzzle before it is drawn: small enough to send to another process."""

    id: str
    kind: Kind
    word: Wording
    scene: Scene | None = None
    picture: Path | None = None
    """The released picture, if the puzzle is a released record."""
    place: str = ""
    """The file of the released record, and its line there."""
    max_pixels: int = images.MAX_PIXELS
    """The largest picture that is decoded."""


def key(word: Wording) -> Key:
    """Returns what training and test may not share, as in the study."""
    return word.caption, tuple(sorted(word.options))


def record_wording(record: Mapping[str, Any]) -> Wording:
    """Returns the texts of a released record, options and answer as strings.

    Raises:
        BadRecord: a field is absent or of another kind, or the answer is no option.
    """
    found = schema.read(record, SCHEMA)
    word = Wording(**found | {"options": tuple(found["options"])})
    if not 2 <= len(word.options) <= len(LETTERS):
        raise BadRecord(
            f"has {len(word.options)} options; 2 to {len(LETTERS)} are expected",
            "with too few or too many options",
        )
    if word.answer not in word.options:
        raise BadRecord(
            f"has the answer {schema.show(word.answer)}, which is not among its options "
            f"{schema.show(list(word.options))}",
            "whose answer is no option",
        )
    return word


def released(
    kind: Kind,
    folder: Path,
    gate: Gate = RAISE,
    *,
    decode: bool = False,
) -> list[Puzzle]:
    """Reads the released records of a kind: `folder/<kind>.json`, one object a line.

    With `decode`, a gate that skips decodes every picture.

    Raises:
        ValueError: no such file, a bad record, or as `_records.collect`.
    """
    path = folder / f"{kind.name}.json"
    if not path.is_file():
        raise ValueError(f"no released records of kind {kind.name!r}: {path} does not exist")

    def read(row: Raw) -> Puzzle:
        name = schema.read(row.fields, {"image": schema.text})["image"]
        picture, word = images.find(folder, name), record_wording(row.fields)
        if not os.path.isfile(picture):  # False too for a name that is too long
            raise BadRecord(
                f"has no picture: {picture} is missing", f"without a picture in {folder}"
            )
        id = f"{kind.name}/test/{row.name}"
        pixels = gate.max_image_pixels
        return Puzzle(id, kind, word, picture=picture, place=row.place, max_pixels=pixels)

    def check(puzzle: Puzzle) -> Puzzle:
        if decode:
            read_picture(puzzle)
        return puzzle

    rows = sources.from_file(path, lines=True)
    return records.collect(rows, read, gate, check=check, subset=lambda _: kind.name)


def read_picture(puzzle: Puzzle) -> np.ndarray:
    """Returns the picture of a released record, uint8 [H W 3].

    Raises:
        BadRecord: a picture that cannot be read; names the record.
    """
    try:
        return images.read(puzzle.picture, puzzle.max_pixels)
    except BadRecord as error:
        line = records.name_fault(puzzle.id, puzzle.place, error)
        raise BadRecord(line, error.reason) from None


def _distinct(kind: Kind, seed: str) -> Iterator[tuple[Scene, Wording]]:
    # Stops after 20 repeated scenes for every distinct one: the chance that one of n equally
    # likely puzzles has not been sampled by then is about exp(-20).
    rng = random.Random(seed)
    seen: set[Scene] = set()
    repeats = 0
    while repeats < 20 * (len(seen) + 50):
        scene = kind.sample(rng)
        repeats = repeats + 1 if scene in seen else 0
        if repeats == 0:
            seen.add(scene)
            yield scene, kind.word(scene)


def sample_puzzles(
    kind: Kind,
    split: str,
    count: int,
    *,
    seed: str,
    without: frozenset[Key] = frozenset(),
    without_scenes: frozenset[Scene] = frozenset(),
) -> list[Puzzle]:
    """Returns the first `count` distinct puzzles of a seed that are not in `without`.

    Raises:
        ValueError: the kind has fewer; the message says how many.
    """
    puzzles: list[Puzzle] = []
    for scene, word in _distinct(kind, seed):
        if scene in without_scenes or key(word) in without:
            continue
        puzzles.append(Puzzle(f"{kind.name}/{split}/{len(puzzles):05}", kind, word, scene))
        if len(puzzles) == count:
            return puzzles
    left = " without the questions of the test set" if without or without_scenes else ""
    raise ValueError(
        f"kind {kind.name!r} has {len(puzzles)} distinct puzzles{left}, fewer than the requested "
        f"{count}; lower count, or leave the kind out"
    )


def sampled_test_set(kind: Kind, count: int) -> list[Puzzle]:
    """Samples a test set; it is the same for every run, whatever the run's seed."""
    return sample_puzzles(kind, "test", count, seed=f"{kind.name}/test")


def test_set(kind: Kind, count: int, folder: Path | None, gate: Gate = RAISE) -> list[Puzzle]:
    """Returns the released records, or a sampled test set where there is no `folder`."""
    return released(kind, folder, gate) if folder else sampled_test_set(kind, count)


def validation_set(kind: Kind, count: int, test: Sequence[Puzzle]) -> list[Puzzle]:
    """Samples a validation set without the questions of `test`; the same for every run."""
    seed = f"{kind.name}/validation"
    return sample_puzzles(kind, "validation", count, seed=seed, **_excluded(kind, test))


def train_set(kind: Kind, count: int, *, seed: int, without: Sequence[Puzzle]) -> list[Puzzle]:
    """Samples a training set without the questions of `without`."""
    return sample_puzzles(
        kind, "train", count, seed=f"{kind.name}/train/{seed}", **_excluded(kind, without)
    )


def _excluded(kind: Kind, puzzles: Sequence[Puzzle]) -> dict[str, frozenset]:
    """Returns what `sample_puzzles` leaves out: keys, or scenes where captions repeat.

    A kind whose caption does not determine its picture has only tens of keys. There sampled puzzles
    are compared by their scenes, and released ones not at all, as in the study.
    """
    if kind.multimodal:
        return {"without": frozenset(key(p.word) for p in puzzles)}
    return {"without_scenes": frozenset(p.scene for p in puzzles if p.scene)}
