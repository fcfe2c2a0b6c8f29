"""Replies that think in <think> and answer in <answer>: reading them, and the rewards for both.

A reward scores any text a model can write; a question it cannot score is a fault of the data.
"""

import re
from collections.abc import Sequence

from mmcot_jax.example import Example, Reply

_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_WHOLE = re.compile(r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*", re.DOTALL)

# "B", "(b)", but not the A of "A dog" and not the I of "I'm"
_LETTER = re.compile(r"\(\s*([A-Za-z])\s*\)|(?<![\w(])(?!A\s+(?!and\b|or\b)[a-z])([A-Z])(?![\w'’])")
_SMALL = re.compile(r"\s*[a-z](?:\s*(?:[,;/&]|\band\b)\s*[a-z])*\s*[.,;:]?\s*")


def thought(text: str) -> str:
    """What stands in the first closed <think>; "" without one."""
    found = _THINK.search(text)
    return found[1] if found else ""


def answered(text: str) -> str | None:
    """What stands in the first closed <answer>, trimmed; None without one."""
    found = _ANSWER.search(text)
    return found[1].strip() if found else None


def letters(answer: str) -> frozenset[str]:
    """The options an answer names: "B, C", "(c) and (B)", "b,c" and "B C." are {B, C}."""
    if _SMALL.fullmatch(answer):
        answer = answer.upper().replace("AND", "and")
    return frozenset((a or b).upper() for a, b in _LETTER.findall(answer))


def normal(answer: str) -> str:
    """A short answer without case, outer marks, doubled spaces: " Two  Dogs." -> "two dogs"."""
    return " ".join(answer.lower().split()).strip(".,;:!?\"'` ")


def right(answer: str | None, example: Example) -> bool:
    """Whether an answer is the example's: the same set of letters, or one of the short answers.

    Raises:
        ValueError: the example's answer names none of its options, or it has no short answer.
    """
    options: Sequence[str] = example.extra.get("options", ())
    if options:
        gold = letters(example.answer)
        if not gold or not gold <= {chr(ord("A") + i) for i in range(len(options))}:
            raise ValueError(
                f"example {example.id!r} has the answer {example.answer!r} and {len(options)} "
                "options; give extra['options'] and the letters of one or more of them"
            )
        return answer is not None and letters(answer) == gold
    possible = example.extra.get("possible_answers", (example.answer,))
    gold = {normal(one) for one in possible} - {""}
    if not gold:
        raise ValueError(f"example {example.id!r} has no answer: {list(possible)!r}; give one")
    return answer is not None and normal(answer) in gold


def accuracy(example: Example, reply: Reply) -> float:
    """1.0 where the answer in <answer> is right, else 0.0.

    Raises:
        ValueError: as `right`.
    """
    return float(right(answered(reply.text), example))


def format(_: Example, reply: Reply) -> float:
    """1.0 for one <think> and one <answer>, neither empty, and nothing else; else 0.0."""
    text = reply.text
    found = _WHOLE.fullmatch(text)
    once = all(text.count(f"<{x}{t}>") == 1 for x in ("", "/") for t in ("think", "answer"))
    return float(bool(found and once and found[1].strip() and found[2].strip()))
