"""Reward for the boxes in a thought, compared with the question's."""

from mmcot_jax.answers.think_answer import read_thought
from mmcot_jax.boxes import match, parse
from mmcot_jax.example import Example, Reply


def iou(example: Example, reply: Reply) -> float | None:
    """Returns how well the boxes in <think> match the question's, 0..1; None if it has none.

    Twice the total IoU of matched pairs over the number of all boxes, found and gold: 1 only if
    every box of either side is matched exactly. Labels do not count.

    Raises:
        ValueError: the example has no `boxes`.
    """
    gold = example.extra.get("boxes")
    if gold is None:
        raise ValueError(
            f"example {example.id!r} has no extra['boxes']; give its boxes, () where it has none"
        )
    if not gold:
        return None
    found = parse(read_thought(reply.text), gold[0].space)
    total = sum(value for _, _, value in match(found, gold))
    return 2 * total / (len(found) + len(gold))
