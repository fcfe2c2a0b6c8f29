"""What a kind of puzzle is: how its parameters are drawn, worded, painted and read back."""

import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Scene = Any
"""A NamedTuple of the kind's own, holding all that wording and picture depend on; hashable."""


class Wording(NamedTuple):
    """The released record's fields, as written there (options and answer as strings)."""

    question: str
    options: tuple[str, ...]
    answer: str
    caption: str
    explanation: str
    deduction: str


class Reasoning(NamedTuple):
    """The words of the option-by-option chain; `{...}` are filled by `chain`."""

    wrong: str
    """"Comparing ..., it does not fit the observed ... pattern." without the closing sentence."""
    right: str
    """The same for the right option."""
    thing: str
    """What is missing: "number", "color", "circle" ... ("the best fit for the missing {thing}")."""
    pattern: str
    """"The pattern that ... holds consistently"; `{value}` is a number of the scene."""


class Kind(NamedTuple):
    """One of the twenty kinds of PuzzleVQA (arXiv 2403.13315)."""

    name: str
    sample: Callable[[random.Random], Scene]
    """Draws the parameters of one puzzle, options included."""
    word: Callable[[Scene], Wording]
    draw: Callable[[Scene, int], np.ndarray]
    """(scene, size) -> uint8 [size size 3]; geometry scales with size / 512."""
    parse: Callable[[Mapping[str, Any]], Scene]
    """A released record (question, options, answer, caption, ...) -> the scene that words it."""
    fill: Callable[[Scene, str], Scene] | None
    """The scene with `?` replaced by an option; None where the caption does not fix the picture."""
    reasoning: Callable[[Scene], Reasoning] | None = None
    """The option-by-option words; None where `fill` is None."""
    original: Callable[[Scene], Reasoning] | None = None
    """The study's wording, where it differs from ours (two kinds)."""
