"""Rewards for replies of the form <think> ... </think> <answer> ... </answer> that may draw.

A reward scores any text a model can write. It raises only on a broken example. The scored text is
`example.extra["prefill"]`, the start of the reply that the prompt already holds (usually empty),
and the reply, with each picture as `<image>`.
"""

import re

from mmcot_jax.answers.yes_no import judge, letters_and_digits
from mmcot_jax.example import Example, Reply

_INSIDE = r"(?:(?!</?(?:think|answer)>).)*"
_FORM = re.compile(
    rf"\s*<think>(?!\s*</think>){_INSIDE}</think>\s*"
    rf"<answer>(?!\s*</answer>)(?!{_INSIDE}<image>){_INSIDE}</answer>\s*",
    re.DOTALL,
)
_STRAY = " \t\n.,;:!?\"'()-"
"""Characters around a reply that halve its reward."""


def accuracy_normalized(example: Example, reply: Reply) -> float:
    """Returns 1.0 if the letters and digits of the answer are the example's, else 0.0.

    Raises:
        ValueError: the example's answer is empty, or not one of its candidate answers.
    """
    candidates = example.extra.get("candidate_answers", (example.answer,))
    if not letters_and_digits(example.answer) or example.answer not in candidates:
        raise ValueError(
            f"example {example.id!r} has the answer {example.answer!r} and the candidates "
            f"{list(candidates)}; give one of them that holds a letter or a digit"
        )
    return float(bool(judge(_text(example, reply), example.answer)))


def format_tiered(example: Example, reply: Reply) -> float:
    """Returns 1.0 for one thought and one answer, neither empty, and nothing else.

    0.5 with stray punctuation around them; else 0.0. A picture counts as a thought, not as an
    answer.
    """
    text = _text(example, reply)
    if _FORM.fullmatch(text):
        return 1.0
    return 0.5 if _FORM.fullmatch(text.strip(_STRAY)) else 0.0


def _text(example: Example, reply: Reply) -> str:
    return example.extra.get("prefill", "") + reply.text
