"""Rewards for a way through a grid, told or drawn, by the reader of `grids.steps`.

A reward scores any reply. It raises only on a broken example: a `ValueError` if it has no grid, or
one whose start has no way to its goal, or is the goal.
"""

from mmcot_jax.example import Example, Reply
from mmcot_jax.grids import steps
from mmcot_jax.rewards.results import Part

STEP_REWARDS = {steps.PROGRESS: 1.0, steps.LEGAL: 0.0, steps.ILLEGAL: -5.0}
"""The progress reward of a step. Source: arXiv 2505.11409."""


def progress(example: Example, reply: Reply) -> list[Part]:
    """Returns `STEP_REWARDS` of each step over the number of steps; 1.0 in all for a shortest path.

    The number is that of a shortest path if there are fewer steps, so a path that stops early
    scores its share. Steps that come nearer than all before count as progress: walking to and fro
    earns nothing. The steps end at the first illegal one. A part begins where the one before ends.
    Steps that a path lacks are parts worth 0: each spans the text after the last step, or nothing
    if that step was illegal.
    """
    found = steps.of(example, reply)
    number = max(len(found.verdicts), found.shortest)
    parts = [
        Part(start, end, STEP_REWARDS[verdict] / number)
        for start, end, verdict in zip((0, *found.ends), found.ends, found.verdicts, strict=False)
    ]
    rest = (0, 0) if found.illegal else ((0, *found.ends)[-1], len(reply.text))
    return parts + [Part(*rest, 0.0)] * (number - len(parts))


def goal(example: Example, reply: Reply) -> float:
    """Returns 1.0 if legal steps lead to the goal and none follows, else 0.0."""
    return float(steps.of(example, reply).reached)


for _reward in (progress, goal):
    _reward.needs_images, _reward.reads_words_too = ("pixels",), True
