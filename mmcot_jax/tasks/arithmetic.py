"""Arithmetic: sums and differences of a few whole numbers, worked out step by step.

Nothing is downloaded, and every answer is checked exactly.

    load(count=1000, terms=3, largest=99)                  # What is 47 + 38 - 12?
    load(count=200, terms=3, split="test", chain="none")
"""

import itertools
import random
from collections.abc import Iterator
from typing import Any

from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks._splits import SPLITS, split_of

EVALUATOR = "grounded"
LAZY_IMAGES = False
COSMETIC_OPTIONS = ()

CHAINS = ("textual", "none")
MOST_TERMS = 8


def stream(
    *,
    count: int,
    terms: int = 3,
    largest: int = 99,
    seed: int = 0,
    split: str = "train",
    chain: str = "textual",
) -> Iterator[Example]:
    """Yields questions, each once. The splits share none.

    Args:
        count: number of questions.
        terms: numbers in a question, 2 to 8; their signs are as likely plus as minus.
        largest: the largest number, at least 9; the smallest is 1.
        seed: of the training questions; validation and test are the same for all seeds.
        split: "train", "validation" or "test".
        chain: "textual": one sum a step, then the answer; "none": no rationale.

    Returns:
        Examples; `extra` has `question`, `options`, `boxes` (none), `possible_answers` (one).

    Raises:
        ValueError: an unknown name, a number out of range, fewer distinct questions than `count`.
    """
    check_choice("split", split, SPLITS)
    check_choice("chain", chain, CHAINS)
    if not 2 <= terms <= MOST_TERMS:
        raise ValueError(f"terms is {terms}; give 2 to {MOST_TERMS} numbers a question")
    if largest < 9:
        raise ValueError(f"largest is {largest}; give a largest number of at least 9")
    # 8 of 10 questions are for training, 1 of each other split; half of those are soon drawn
    most = largest**terms * 2 ** (terms - 1) * (8 if split == "train" else 1) // 20
    if not 1 <= count <= most:
        raise ValueError(
            f"count is {count}; with {terms} terms up to {largest}, give 1 to {most} questions of "
            f"split {split!r}"
        )
    questions = _questions(terms, largest, split, seed if split == "train" else 0)
    return (
        _example(f"arithmetic/{split}/{number:05}", numbers, chain)
        for number, numbers in enumerate(itertools.islice(questions, count))
    )


def load(**options: Any) -> list[Example]:
    """Returns all examples of `stream`."""
    return list(stream(**options))


def _questions(terms: int, largest: int, split: str, seed: int) -> Iterator[tuple[int, ...]]:
    """Yields the signed numbers of distinct questions of a split, without end."""
    rng, seen = random.Random(f"{split} {seed}"), set()
    while True:
        first, *rest = (rng.randint(1, largest) for _ in range(terms))
        numbers = (first, *(rng.choice((1, -1)) * number for number in rest))
        if numbers not in seen and split_of(_sum(numbers)) == split:
            seen.add(numbers)
            yield numbers


def _sum(numbers: tuple[int, ...]) -> str:
    """(47, 38, -12) -> "47 + 38 - 12"."""
    first, *rest = numbers
    return str(first) + "".join(f" {'-' if n < 0 else '+'} {abs(n)}" for n in rest)


def _example(id: str, numbers: tuple[int, ...], chain: str) -> Example:
    totals = list(itertools.accumulate(numbers))
    steps = " ".join(
        f"{_sum((total, number))} = {after}."
        for total, number, after in zip(totals, numbers[1:], totals[1:], strict=False)
    )
    question, answer = f"What is {_sum(numbers)}?", str(totals[-1])
    rationale = f" <think>{steps}</think> <answer>{answer}</answer>"
    return Example(
        id=id,
        prompt=(f"USER: {question}\nASSISTANT:",),
        answer=answer,
        rationale=(rationale,) if chain == "textual" else (),
        extra={
            "question": question,
            "options": (),
            "possible_answers": (answer,),
            "boxes": (),
        },
    )
