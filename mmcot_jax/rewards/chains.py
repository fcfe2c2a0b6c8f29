"""Chains of the form <think> ... </think> <answer> ... </answer>: what they answer, their form.

A reward scores any text a model can write; a question it cannot score is a fault of the data.
The text judged is `example.extra["begun"]`, what the prompt put in the model's mouth (usually
nothing), and then the reply, with each picture as `<image>`.
"""

import re
from collections.abc import Callable

from mmcot_jax.example import Example, Reply

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_INSIDE = r"(?:(?!</?(?:think|answer)>).)*"
_FORM = re.compile(
    rf"\s*<think>(?!\s*</think>){_INSIDE}</think>\s*"
    rf"<answer>(?!\s*</answer>)(?!{_INSIDE}<image>){_INSIDE}</answer>\s*",
    re.DOTALL,
)
_STRAY = " \t\n.,;:!?\"'()-"
"""Characters that may stand around a chain at half the price."""


def normalize(answer: str) -> str:
    """Letters and digits, case folded: " Yes. " is "yes"."""
    return "".join(c for c in answer.casefold() if c.isalnum())


def read_answer(text: str) -> str | None:
    """What stands between answer tags, stripped; None without any, or where two differ.

    A chain that answers both Yes and No has not answered.
    """
    answers = [found.strip() for found in _ANSWER.findall(text)]
    return answers[-1] if len(set(map(normalize, answers))) == 1 else None


def chain(example: Example, reply: Reply) -> str:
    """The text that is judged."""
    return example.extra.get("begun", "") + reply.text


def read_before_images(text: str) -> str | None:
    """The first answer before the first picture, as the study's evaluation read it.

    An answer given after a picture is lost, which is where a chain that draws gives it.
    """
    found = _ANSWER.search(text.partition("<image>")[0])
    return found[1].strip() if found else None


READINGS: dict[str, Callable[[str], str | None]] = {
    "strict": read_answer,
    "reference": read_before_images,
}
"""How the answer is found in a chain."""


def judge(text: str, gold: str, reading: str = "strict") -> bool | None:
    """Whether a chain's answer is the question's; None where it has none."""
    answer = READINGS[reading](text)
    return None if answer is None else normalize(answer) == normalize(gold)


def accuracy_normalized(example: Example, reply: Reply) -> float:
    """1.0 where the answer, its letters and digits, is the example's; else 0.0.

    Raises:
        ValueError: the example's answer is empty, or none of its candidate answers.
    """
    candidates = example.extra.get("candidate_answers", (example.answer,))
    if not normalize(example.answer) or example.answer not in candidates:
        raise ValueError(
            f"example {example.id!r} has the answer {example.answer!r} and the candidates "
            f"{list(candidates)}; give one of them that holds a letter or a digit"
        )
    return float(bool(judge(chain(example, reply), example.answer)))


def format_tiered(example: Example, reply: Reply) -> float:
    """1.0 for one thought and one answer, neither empty, and no more; 0.5 with stray punctuation
    around them; else 0.0. A picture is a thought; it is no answer."""
    text = chain(example, reply)
    if _FORM.fullmatch(text):
        return 1.0
    return 0.5 if _FORM.fullmatch(text.strip(_STRAY)) else 0.0
