"""Rewards for where a chain looks: its boxes against the question's."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from mmcot_jax.boxes import Box, Space, parse
from mmcot_jax.example import Example, Reply
from mmcot_jax.rewards.tags import thought


def overlap(one: Box, other: Box) -> float:
    """Intersection over union, 0..1, of two boxes of one frame.

    Raises:
        ValueError: they are of two frames.
    """
    if one.space != other.space:
        raise ValueError(
            f"boxes of {one.space} and {other.space} cannot be compared; boxes.convert one"
        )
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    common = max(width, 0) * max(height, 0)
    union = one.area + other.area - common
    return common / union if union else 0.0


def match(found: Sequence[Box], gold: Sequence[Box]) -> list[tuple[int, int, float]]:
    """Pairs (number of a found box, number of a gold box, IoU), each box in one pair at most.

    The pairing of largest total IoU; pairs that do not overlap are left out. A found box of nearly
    the whole picture overlaps none but a gold box that is as large.
    """
    if not found or not gold:
        return []
    table = np.array(
        [[0.0 if f.whole and not g.whole else overlap(f, g) for g in gold] for f in found]
    )
    pairs = zip(*linear_sum_assignment(table, maximize=True), strict=True)
    return [(int(f), int(g), float(table[f, g])) for f, g in pairs if table[f, g] > 0]


def wanted(example: Example) -> tuple[tuple[Box, ...], Space | None]:
    """The question's boxes, in the frame the chain is to use.

    Raises:
        ValueError: the example does not say which boxes it has.
    """
    boxes = example.extra.get("boxes")
    if boxes is None:
        raise ValueError(
            f"example {example.id!r} has no extra['boxes']; give its boxes, () where it has none"
        )
    return tuple(boxes), boxes[0].space if boxes else None


def iou(example: Example, reply: Reply) -> float | None:
    """How well the boxes in <think> are the question's, 0..1; None where the question has none.

    Twice the total IoU of matched pairs over the number of all boxes, found and asked for: 1 only
    when every box of either side is matched exactly. Labels do not count.

    Raises:
        ValueError: as `wanted`.
    """
    gold, space = wanted(example)
    if space is None:
        return None
    found = parse(thought(reply.text), space)
    total = sum(value for _, _, value in match(found, gold))
    return 2 * total / (len(found) + len(gold))
