"""The study's rewards for boxes and answers, unchanged, to compare with its numbers.

First the study's functions of texts, then the same as rewards of (Example, Reply), which take the
target text from `extra["solution"]`. tests/rewards lists the differences from ours.
"""

import functools
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from mmcot_jax.answers.think_answer import first_block
from mmcot_jax.boxes import Number, parse_reference
from mmcot_jax.example import Example, Reply, RewardFn

Corners = Sequence[Number]

_JOINT = re.compile(r"</think>\s*+<answer>")


def _inside(tag: str, text: str) -> str:
    found = first_block(text, tag)
    return text.strip().lower() if found is None else found.strip()


def accuracy_of(completion: object, solution: object) -> float:
    """Returns 1.0 if the two answers are the same string; 0.0 for a value that is no string."""
    if not (isinstance(completion, str) and isinstance(solution, str)):
        return 0.0
    return float(_inside("answer", completion) == _inside("answer", solution))


def format_of(completion: str) -> float:
    """Returns 0.5 if the text begins with a think and an answer block, whatever follows."""
    joint = _JOINT.search(completion, len("<think>"))
    begins = completion.startswith("<think>") and joint
    return 0.5 if begins and "</answer>" in completion[joint.end() :] else 0.0


def iou_of(one: Corners, other: Corners) -> float:
    """Returns the intersection over union of two (x0, y0, x1, y1); 0.0 where it overflows."""
    try:
        return _iou(one, other)
    except OverflowError:  # a coordinate of 400 digits and a fraction
        return 0.0


def _iou(one: Corners, other: Corners) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0, width) * max(0, height)
    areas = [max(0, b[2] - b[0]) * max(0, b[3] - b[1]) for b in (one, other)]
    union = sum(areas) - common
    return common / union if union > 0 else 0.0


def boxes_of(text: str) -> dict[str, tuple[int, int, int, int]]:
    """Returns the boxes of the think block, or of the whole text without one."""
    return parse_reference(_inside("think", text))


def bbox_of(completion: object, solution: object) -> float:
    """Returns the mean IoU of the reply's boxes with the box of their label, else the best box."""
    if not (isinstance(completion, str) and isinstance(solution, str)):
        return 0.0
    gold = boxes_of(solution)

    def score(label: str, box: Corners) -> float:
        if label in gold:
            return iou_of(box, gold[label])
        return max((iou_of(box, other) for other in gold.values()), default=0.0)

    return _mean([score(label, box) for label, box in boxes_of(completion).items()])


def scaleup_accuracy_of(completion: str, possible_answers: Sequence[str]) -> float:
    """Returns 1.0 if the answer is a possible one, up to case and outer spaces."""
    answer = _inside("answer", completion).lower().strip()
    return float(answer in [possible.lower().strip() for possible in possible_answers])


def scaleup_bbox_of(completion: str, bboxes: Sequence[Corners] | None) -> float:
    """Returns the mean IoU of the reply's boxes with the best of `bboxes`, whatever the label."""
    if not bboxes or any(len(box) != 4 for box in bboxes):
        return 0.0
    found = boxes_of(completion).values()
    return _mean([max(iou_of(box, other) for other in bboxes) for box in found])


def _mean(values: Sequence[float]) -> float:
    # added one by one, as in the study: from Python 3.12 on `sum` rounds less
    return functools.reduce(operator.add, values) / len(values) if values else 0.0


# ---- as rewards ----------------------------------------------------------------------------------


def _reward(score: Callable[[str, Any], float], field: str, read: Callable[[Any], Any]) -> RewardFn:
    """Returns a reward that compares the reply's text with `read(extra[field])`.

    It raises a `ValueError` if the example has no such field.
    """

    def reward(example: Example, reply: Reply) -> float:
        if field not in example.extra:
            raise ValueError(
                f"example {example.id!r} has no extra[{field!r}], which the study's rewards "
                "compare with; use a task that gives it, or our own rewards"
            )
        return score(reply.text, read(example.extra[field]))

    return reward


def format(_: Example, reply: Reply) -> float:
    """Returns `format_of` for the reply."""
    return format_of(reply.text)


accuracy = _reward(accuracy_of, "solution", str)
bbox = _reward(bbox_of, "solution", str)
scaleup_accuracy = _reward(scaleup_accuracy_of, "possible_answers", list)
scaleup_bbox = _reward(scaleup_bbox_of, "boxes", lambda boxes: [box.corners for box in boxes])
