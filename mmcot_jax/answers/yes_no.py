"""Reads and judges answers of one word, Yes or No, in <answer>."""

from collections.abc import Callable

from mmcot_jax.answers.think_answer import blocks, plain_text, read_answer


def letters_and_digits(answer: str) -> str:
    """Returns the letters and digits of an answer, case folded: "yes" of " Yes. "."""
    return "".join(c for c in plain_text(answer).casefold() if c.isalnum())


def read_unanimous(text: str) -> str | None:
    """Returns the content of <answer>, stripped; None without one or if two of them differ.

    A reply that answers both Yes and No has not answered.
    """
    answers = [answer.strip() for answer in blocks(text, "answer")]
    return answers[-1] if len(set(map(letters_and_digits, answers))) == 1 else None


def read_before_images(text: str) -> str | None:
    """Returns the first answer before the first image, as the study's evaluation did.

    It misses answers after an image, which is where a reply with images gives them.
    """
    return read_answer(text.partition("<image>")[0])


PARSERS: dict[str, Callable[[str], str | None]] = {
    "strict": read_unanimous,
    "reference": read_before_images,
}
"""Ways to read the answer: ours and the study's."""


def judge(text: str, answer: str, parser: str = "strict") -> bool | None:
    """Returns whether a reply's answer equals `answer`; None if the reply has no answer."""
    read = PARSERS[parser](text)
    return None if read is None else letters_and_digits(read) == letters_and_digits(answer)
