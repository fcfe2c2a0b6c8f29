"""The words of a puzzle: its prompt, and the two chains that reason from pattern to letter."""

from typing import Literal

import numpy as np

from mmcot_jax.example import Segment
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Wording

LETTERS = "ABCD"
"""Names of the options, in order; three options use the first three."""


def letter(word: Wording) -> str:
    """The letter of the right option."""
    return LETTERS[word.options.index(word.answer)]


def prompt(word: Wording, image: np.ndarray) -> tuple[Segment, ...]:
    """What the model is given: question, picture uint8 [H W 3], options, the head of the pattern.

    Source: the study's prompt, used for training and for evaluation alike.
    """
    options = "\n".join(f"({name}) {o}" for name, o in zip(LETTERS, word.options, strict=False))
    return (
        "# Question:\n",
        image,
        f"{word.question}\n\n# Options:\n{options}\n\n# Pattern:\n",
    )


def _verdict(word: Wording, named: str) -> str:
    names = " ".join(f"({name})" for name in LETTERS[: len(word.options)])
    return f"Therefore, among {names}, the answer is: ({named})."


def textual(kind: Kind, scene: Scene) -> tuple[Segment, ...]:
    """Pattern, then deduction: `{caption} {explanation}`, `{deduction} Therefore, ...`."""
    word = kind.word(scene)
    return (
        f"{word.caption} {word.explanation}\n\n# Final Answer:\n{word.deduction} "
        f"{_verdict(word, letter(word))}",
    )


def guess(word: Wording, named: str) -> tuple[Segment, ...]:
    """The letter of an option, without a pattern."""
    return (f"# Final Answer:\n{_verdict(word, named)}",)


def require_pictures(kind: Kind) -> None:
    """Refuses a kind without option pictures.

    Raises:
        ValueError: the caption leaves the picture open, so there is no multimodal chain.
    """
    if kind.fill is None or kind.reasoning is None:
        raise ValueError(
            f"kind {kind.name!r} has no multimodal chain: its caption does not fix its picture; "
            f"use chain='textual' or leave the kind out"
        )


def multimodal(
    kind: Kind,
    scene: Scene,
    *,
    size: int,
    wording: Literal["corrected", "original"] = "corrected",
) -> tuple[Segment, ...]:
    """Pattern, then one picture an option with a judgement of it, then the answer.

    Each picture, uint8 [size size 3], is the puzzle with `?` replaced by the option. `wording`
    "original" is the study's, which for two kinds names another kind's rule.

    Raises:
        ValueError: the kind has no option pictures.
    """
    require_pictures(kind)
    word = kind.word(scene)
    reason = (kind.original if wording == "original" else None) or kind.reasoning
    said = reason(scene)

    segments: list[Segment] = []
    text = f"{word.caption} {word.explanation}\n\n"
    for name, option in zip(LETTERS, word.options, strict=False):
        judgement = (
            f"{said.right} {option} is a strong candidate for the correct answer."
            if option == word.answer
            else f"{said.wrong} {option} is unlikely to be the correct answer."
        )
        segments += [
            f"{text}# Option {name}\nReplacing '?' with {option}: ",
            kind.draw(kind.fill(scene, option), size),
        ]
        text = f"\nReasoning: {judgement}\n\n"
    segments.append(
        f"{text}# Final Answer:\n"
        f"Based on the reasoning process, the best fit for the missing {said.thing} is "
        f"{word.answer}. {said.pattern} when we replace '?' with {word.answer}. "
        f"{_verdict(word, letter(word))}"
    )
    return tuple(segments)
