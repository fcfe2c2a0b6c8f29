"""Rewards for a puzzle's reply: the letter it states and its form.

A reward scores any text a model can write. It raises only on a broken example: a `ValueError` if
the answer is not the letter of one of its options.
"""

import re
from collections.abc import Sequence

from mmcot_jax.answers.letter import LETTERS, parse_strict
from mmcot_jax.example import Example, Reply


def accuracy(example: Example, reply: Reply) -> float:
    """Returns 1.0 if the last stated letter is the answer's, else 0.0."""
    options = _options(example)
    return float(parse_strict(reply.text, len(options)) == example.answer)


_FINAL = "# Final Answer:"
_OPTION = re.compile(r"^# Option ([A-Z])$", re.MULTILINE)


def format(example: Example, reply: Reply) -> float:
    """Returns 1.0 for a reply of the taught form, else 0.0: pattern, options, final answer.

    All options come once, in order, with one image each; or none does (the textual form).
    "# Final Answer:" comes once and states one of the letters.
    """
    return float(_options_drawn(example, reply) in (0, len(_options(example))))


def format_drawn(example: Example, reply: Reply) -> float:
    """Returns 1.0 for the form of `format` with an image for every option, else 0.0."""
    return float(_options_drawn(example, reply) == len(_options(example)))


def _options_drawn(example: Example, reply: Reply) -> int:
    """Returns the number of options that a well-formed reply draws; -1 if it is malformed."""
    options, text = _options(example), reply.text
    reasoning, *final = text.split(_FINAL)
    if len(final) != 1 or not parse_strict(_FINAL + final[0], len(options)):
        return -1
    pattern, *names_and_sections = _OPTION.split(reasoning)
    names, sections = names_and_sections[::2], names_and_sections[1::2]
    images = [section.count("<image>") for section in sections]
    complete = pattern.strip() and "<image>" not in pattern + final[0]
    if not complete or images != [1] * len(sections):
        return -1
    return len(sections) if names in ([], list(LETTERS[: len(options)])) else -1


def _options(example: Example) -> Sequence[str]:
    options = example.extra.get("options", ())
    if example.answer not in list(LETTERS[: len(options)]):
        raise ValueError(
            f"example {example.id!r} has the answer {example.answer!r} and {len(options)} options; "
            "give extra['options'] and the letter of one of them"
        )
    return options
