"""Rewards for replies that think in <think> and answer in <answer>.

A reward scores any text a model can write. It raises only on a broken example.
"""

import re

from mmcot_jax.answers import think_answer
from mmcot_jax.example import Example, Reply

_FORM = re.compile(r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*", re.DOTALL)


def accuracy(example: Example, reply: Reply) -> float:
    """Returns 1.0 if the answer in <answer> is correct, else 0.0.

    Raises:
        ValueError: as `think_answer.is_correct`.
    """
    return float(think_answer.is_correct(think_answer.read_answer(reply.text), example))


def format(_: Example, reply: Reply) -> float:
    """Returns 1.0 for one <think> and one <answer>, neither empty, and nothing else; else 0.0."""
    text = reply.text
    if any(text.count(f"<{x}{t}>") != 1 for x in ("", "/") for t in ("think", "answer")):
        return 0.0
    found = _FORM.fullmatch(text)
    return float(bool(found and found[1].strip() and found[2].strip()))
