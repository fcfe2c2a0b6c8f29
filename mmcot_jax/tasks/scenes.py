"""Scenes: a few described shapes, a yes/no question about their places, a chain that draws them.

A small ReSQ in the toy world of `tasks.shapes`; nothing is downloaded.

    load(count=1000, size=64)                   # for training
    load(count=200, split="validation", chain="none")
"""

from collections.abc import Iterator
from typing import Any

from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example
from mmcot_jax.tasks import shapes
from mmcot_jax.tasks._guess import check_guesses, guess
from mmcot_jax.tasks.shapes import facts
from mmcot_jax.tasks.shapes.world import CELLS

EVALUATOR = "resq"
LAZY_IMAGES = False
COSMETIC_OPTIONS = ()

CHAINS = ("multimodal", "textual", "none")


def stream(
    *,
    count: int,
    seed: int = 0,
    split: str = "train",
    size: int = 64,
    chain: str = "multimodal",
    guesses: float = 0.0,
) -> Iterator[Example]:
    """Yields described scenes with a question each. The splits share no scene, in words.

    Args:
        count: number of questions.
        seed: of the training questions; validation and test are the same for all seeds.
        split: "train", "validation" or "test".
        size: side of the pictures in pixels.
        chain: "multimodal" draws the scene, then gives the places of the two things in question
            and the fact that decides it; "textual" does not draw; "none": no rationale.
        guesses: share of the chains, 0..1, that give a random answer without a reason.

    Returns:
        Examples; `extra` has `scene`, `question`, `candidate_answers`, `scene_embedding` (in the
        space of `tiny`'s picture embeddings), `picture`, the scene as uint8 [size size 3], and
        `places`, those of the things in question, such as "red top left".

    Raises:
        ValueError: an unknown name, a count below 1 or above the number of questions, too small
            a picture, `guesses` outside 0..1.
    """
    check_choice("chain", chain, CHAINS)
    shapes.check_size(size)
    check_guesses(guesses)
    questions = shapes.described(count, split=split, seed=seed)
    return (
        _example(f"scenes/{split}/{number:05}", question, size, chain, guesses)
        for number, question in enumerate(questions)
    )


def load(**options: Any) -> list[Example]:
    """Returns all examples of `stream`."""
    return list(stream(**options))


def _example(
    id: str, question: shapes.SceneQuestion, size: int, chain: str, guesses: float
) -> Example:
    scene, picture = shapes.describe(question.scene), shapes.draw(question.scene, size)
    # Each place follows the word that names its thing (a colour is unique), as in a picture's ids,
    # so that one step of attention finds it. The question then stands beside the deciding fact.
    places = tuple(f"{t.color} {CELLS[t.cell]}" for t in question.relevant)
    thought = f"See: {', '.join(places)}. {question.text} {question.reason}"
    text = f"{thought}</think> <answer>{question.answer}</answer>"
    chains = {"multimodal": ("<think>", picture, f" {text}"), "textual": (f"<think>{text}",)}
    rationale = chains.get(chain, ())
    if rationale and (guessed := guess(id, guesses, question.options)):
        rationale = (f"<answer>{guessed}</answer>",)
    return Example(
        id=id,
        prompt=(f"USER: {scene} {question.text}\nASSISTANT:",),
        answer=question.answer,
        rationale=rationale,
        extra={
            "scene": scene,
            "question": question.text,
            "candidate_answers": question.options,
            "scene_embedding": facts.embed_text(scene),
            "picture": picture,
            "places": places,
        },
    )
