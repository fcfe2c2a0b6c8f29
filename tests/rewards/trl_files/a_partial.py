"""A function of the repository's own with an argument filled in."""

import functools


def share_of(letter: str, completions: list[str], prompts: list[str]) -> list[float]:
    return [text.count(letter) / max(len(text), 1) for text in completions]


share_of_e = functools.partial(share_of, "e")
