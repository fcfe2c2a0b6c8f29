"""Synthetic questions of a config's sizes, and completions that never end early.

Axes: T time, A position axes.
"""

import copy
import math
from typing import Any

import numpy as np

from mmcot_jax import data
from mmcot_jax.example import Example, Row
from mmcot_jax.types import Backbone

IMAGE = 64
"""Pixels of a side, for a model that brings all images to one size."""


def make(backbone: Backbone, count: int, tokens: int, slots: int) -> data.Rendered:
    """Returns `count` questions of `tokens` tokens with at most `slots` image slots each.

    A model that takes images of any size gets one square image, the largest that fits in both.
    The rest of a prompt is one word, repeated.

    Raises:
        ValueError: the shortest prompt is longer than `tokens`.
    """
    prompt = _prompt(backbone, tokens, slots)
    word = int(np.flatnonzero(np.asarray(backbone.grammar.is_text))[0])
    shortest = len(backbone.renderer.prompt(Example("0", prompt, "")).tokens)
    if shortest > tokens:
        raise ValueError(
            f"plan.prompt_tokens is {tokens}, and the template and images of a prompt are "
            f"{shortest} tokens; give that many or more"
        )
    examples = [Example(str(number), prompt, "") for number in range(count)]
    return data.Rendered(
        examples, lambda example: lengthen(backbone.renderer.prompt(example), tokens, word)
    )


def lengthen(row: Row, tokens: int, word: int) -> Row:
    """Returns the row with `word` appended until it has `tokens` tokens."""
    more = tokens - len(row.tokens)
    after = row.positions.max() + 1 + np.arange(more, dtype=np.int32)
    after = np.broadcast_to(after, (len(row.positions), more))
    windows = row.windows
    if windows is not None:
        windows = windows._replace(source=np.pad(windows.source, (0, more), constant_values=-1))
    return row._replace(
        tokens=np.pad(row.tokens, (0, more), constant_values=word),
        positions=np.concatenate([row.positions, after], axis=1),
        loss=np.pad(row.loss, (0, more)),
        windows=windows,
    )


def _prompt(backbone: Backbone, tokens: int, slots: int) -> tuple[Any, ...]:
    """Returns the segments of a prompt: its images, and no words."""
    sight = getattr(backbone.renderer, "sight", None)
    if not slots or sight is None:
        return (*(_noise(IMAGE),) * slots, "")
    largest = math.isqrt(min(tokens * sight.cell**2, sight.max_pixels)) // sight.cell
    for side in range(largest, 0, -1):
        image = _noise(side * sight.cell)
        row = backbone.renderer.prompt(Example("0", (image, ""), ""))
        if len(row.tokens) <= tokens and data.image_slots(row) <= slots:
            return image, ""
    raise ValueError(
        f"plan.prompt_tokens is {tokens} and plan.prompt_slots {slots}: not even the smallest "
        "image fits; give more of them, or plan.prompt_slots=0"
    )


def _noise(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


def without_eos(backbone: Backbone) -> Backbone:
    """Returns the backbone with a grammar without EOS: every completion has its full length."""
    kind = type(backbone)

    class WithoutEos(kind):
        @property
        def grammar(self):
            return super().grammar._replace(eos=())

    endless = copy.copy(backbone)
    object.__setattr__(endless, "__class__", WithoutEos)
    return endless
