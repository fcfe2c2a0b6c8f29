"""The prompt of a puzzle, and its chains of thought in text or in text and pictures."""

import numpy as np

from mmcot_jax.example import Segment
from mmcot_jax.tasks.puzzlevqa.kind import Kind, Scene, Wording

LETTERS = "ABCD"
"""Names of the options, in order; three options use the first three."""


def letter(word: Wording) -> str:
    """Returns the letter of the right option."""
    return LETTERS[word.options.index(word.answer)]


def prompt(word: Wording, image: np.ndarray) -> tuple[Segment, ...]:
    """Returns question, picture uint8 [H W 3], options and the heading of the pattern.

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
    """Returns pattern and deduction: `{caption} {explanation}`, `{deduction} Therefore, ...`."""
    word = kind.word(scene)
    return (
        f"{word.caption} {word.explanation}\n\n# Final Answer:\n{word.deduction} "
        f"{_verdict(word, letter(word))}",
    )


def guess(word: Wording, named: str) -> tuple[Segment, ...]:
    """Returns a chain that names an option's letter without a pattern."""
    return (f"# Final Answer:\n{_verdict(word, named)}",)


def require_multimodal(kind: Kind) -> None:
    """Checks that options can be drawn into a kind's picture.

    Raises:
        ValueError: the caption does not determine the picture, so there is no multimodal chain.
    """
    if not kind.multimodal:
        raise ValueError(
            f"kind {kind.name!r} has no multimodal chain: its caption does not determine its "
            f"picture; use chain='textual' or leave the kind out"
        )


def multimodal(
    kind: Kind, scene: Scene, *, size: int, wording: str = "corrected"
) -> tuple[Segment, ...]:
    """Returns the pattern, a picture and a judgement of every option, and the answer.

    Each picture, uint8 [size size 3], is the puzzle with `?` replaced by the option. `wording`
    "original" is the study's, which names another kind's rule in two kinds.

    Raises:
        ValueError: the kind has no multimodal chain.
    """
    require_multimodal(kind)
    word, reasoning = kind.word(scene), kind.reasoning(scene, wording)
    segments: list[Segment] = []
    text = f"{word.caption} {word.explanation}\n\n"
    for name, option in zip(LETTERS, word.options, strict=False):
        judgement = (
            f"{reasoning.right} {option} is a strong candidate for the correct answer."
            if option == word.answer
            else f"{reasoning.wrong} {option} is unlikely to be the correct answer."
        )
        segments += [
            f"{text}# Option {name}\nReplacing '?' with {option}: ",
            kind.draw(scene.fill(option), size),
        ]
        text = f"\nReasoning: {judgement}\n\n"
    segments.append(
        f"{text}# Final Answer:\n"
        f"Based on the reasoning process, the best fit for the missing {reasoning.thing} is "
        f"{word.answer}. {reasoning.pattern} when we replace '?' with {word.answer}. "
        f"{_verdict(word, letter(word))}"
    )
    return tuple(segments)
