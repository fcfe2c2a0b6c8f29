"""Reads replies that think in <think> and answer in <answer>."""

import re
from collections.abc import Sequence

from mmcot_jax.answers.letter import LETTERS
from mmcot_jax.example import Example

THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL)
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)

# "B", "(b)", but not the A of "A dog" and not the I of "I'm"
_LETTER = re.compile(r"\(\s*([A-Za-z])\s*\)|(?<![\w(])(?!A\s+(?!and\b|or\b)[a-z])([A-Z])(?![\w'’])")
_LOWER_CASE = re.compile(r"\s*[a-z](?:\s*(?:[,;/&]|\band\b)\s*[a-z])*\s*[.,;:]?\s*")


def read_thought(text: str) -> str:
    """Returns the content of the first closed <think>, or "" without one."""
    found = THINK.search(text)
    return found[1] if found else ""


def read_answer(text: str) -> str | None:
    """Returns the content of the first closed <answer>, stripped, or None without one."""
    found = ANSWER.search(text)
    return found[1].strip() if found else None


def option_letters(answer: str) -> frozenset[str]:
    """Returns the letters an answer names: {B, C} of "B, C", "(c) and (B)", "b,c" and "B C."."""
    if _LOWER_CASE.fullmatch(answer):
        answer = answer.upper().replace("AND", "and")
    return frozenset((a or b).upper() for a, b in _LETTER.findall(answer))


def normalize(answer: str) -> str:
    """Returns a short answer in lower case, without outer marks and doubled spaces.

    " Two  Dogs." becomes "two dogs".
    """
    return " ".join(answer.lower().split()).strip(".,;:!?\"'` ")


def is_correct(answer: str | None, example: Example) -> bool:
    """Returns whether an answer names the right set of letters, or is a right short answer.

    Raises:
        ValueError: the example's answer names none of its options, or it has no short answer.
    """
    options: Sequence[str] = example.extra.get("options", ())
    if options:
        right = option_letters(example.answer)
        if not right or not right <= set(LETTERS[: len(options)]):
            raise ValueError(
                f"example {example.id!r} has the answer {example.answer!r} and {len(options)} "
                "options; give extra['options'] and the letters of one or more of them"
            )
        return answer is not None and option_letters(answer) == right
    possible = example.extra.get("possible_answers", (example.answer,))
    right = {normalize(one) for one in possible} - {""}
    if not right:
        raise ValueError(f"example {example.id!r} has no answer: {list(possible)!r}; give one")
    return answer is not None and normalize(answer) in right
