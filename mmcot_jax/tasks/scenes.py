"""Scenes: words describe a few shapes, a yes/no question asks for places, the chain draws them.

ReSQ in small, of the toy world of `tasks.shapes`: nothing is downloaded.

    load(count=1000, size=64)                   # to learn from
    load(count=200, split="validation", chain="none")
"""

from collections.abc import Iterator
from typing import Any

from mmcot_jax.example import Example
from mmcot_jax.tasks import shapes
from mmcot_jax.tasks._guess import check_guesses, guess
from mmcot_jax.tasks.shapes import facts
from mmcot_jax.tasks.shapes.world import CELLS, SMALLEST

EVALUATOR = "resq"
LAZY_IMAGES = False

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
    """Described scenes with a question each. No scene of one split, in words, is in another.

    Args:
        count: questions.
        seed: of the training questions; the others are one set for all seeds.
        split: "train", "validation" or "test".
        size: side of the pictures, pixels.
        chain: "multimodal" draws the scene, then says where the two things asked about lie, and
            what follows; "textual" does not draw; "none" leaves the rationale empty.
        guesses: share of the chains, 0..1, that give no reason and an answer taken at random.

    Returns:
        Examples; `extra` has `scene`, `question`, `candidate_answers`, `scene_embedding` (what
        `tiny`'s pictures are embedded as, too), and `picture`, the scene as uint8 [size size 3].

    Raises:
        ValueError: an unknown name, a count below 1 or above what there is, a picture too small,
            `guesses` that are no share.
    """
    if chain not in CHAINS:
        raise ValueError(f"unknown chain {chain!r}; choose from {', '.join(CHAINS)}")
    if size < SMALLEST:
        raise ValueError(f"picture size {size} is too small for shapes; give at least {SMALLEST}")
    check_guesses(guesses)
    questions = shapes.described(count, split=split, seed=seed)
    return (
        _example(f"scenes/{split}/{number:05}", question, size, chain, guesses)
        for number, question in enumerate(questions)
    )


def load(**options: Any) -> list[Example]:
    """All of `stream`, in memory."""
    return list(stream(**options))


def _example(id: str, question: shapes.Question, size: int, chain: str, guesses: float) -> Example:
    scene, picture = shapes.describe(question.scene), shapes.draw(question.scene, size)
    # where the two lie, each place right behind one word that names it (no colour is there twice)
    # as in a picture's ids, so that one look back finds it; then what is asked beside what is so
    places = ", ".join(f"{t.color} {CELLS[t.cell]}" for t in question.seen)
    found = f"See: {places}. {question.text} {question.reason}"
    said = f"{found}</think> <answer>{question.answer}</answer>"
    chains = {"multimodal": ("<think>", picture, f" {said}"), "textual": (f"<think>{said}",)}
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
        },
    )
