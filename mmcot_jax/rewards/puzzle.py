"""Rewards for a puzzle's reply: the letter, caption and judgements it states, and its form.

A reward scores any text a model can write. It raises only on a broken example: a `ValueError` if
the answer is not the letter of one of its options, or `caption` has no caption to compare with.
"""

import re
from collections.abc import Sequence
from itertools import islice, zip_longest

from mmcot_jax.answers.caption import WORD
from mmcot_jax.answers.letter import LETTERS, parse_strict
from mmcot_jax.example import IMAGE, Example, Reply
from mmcot_jax.rewards.results import Part


def accuracy(example: Example, reply: Reply) -> float:
    """Returns 1.0 if the last stated letter is the answer's, else 0.0."""
    options = _options(example)
    return float(parse_strict(reply.text, len(options)) == example.answer)


def caption(example: Example, reply: Reply) -> float:
    """Returns the share of facts about the picture that the reply states as the caption does.

    The reply's first words are compared one by one with the caption's. Each that differs counts as
    one word of `extra["facts"]` missed, down to 0.0.

    Raises:
        ValueError: the example has no `extra["caption"]` or no `extra["facts"]`.
    """
    facts, true = (example.extra.get(name) for name in ("facts", "caption"))
    if not facts or not true:
        raise ValueError(
            f"example {example.id!r} has no extra['caption'] with its extra['facts'], words "
            "such as 'red', to compare a chain with; give them, or take another reward"
        )
    words = WORD.findall(true)
    said = [found[0] for found in islice(WORD.finditer(reply.text), len(words))]
    missed = sum(a != b for a, b in zip_longest(words, said))
    return max(0.0, 1.0 - missed / len(facts))


def judgements(example: Example, reply: Reply) -> list[Part]:
    """Returns how rightly the reply names and judges each option; the parts sum to 0.0 to 1.0.

    A part is an option's own section, "# Option A" and so on, empty if there is none. Half of the
    sum is for the options that their sections name. The other half is for the sentences that an
    option "matches well" and "is a strong candidate", or "does not fit" and "is unlikely": the
    right two without the others, as a reason that contradicts its verdict is no reason. Those of
    the answer weigh as much as those of all other options together, so a reply that rejects every
    option has half of it.

    Raises:
        ValueError: the answer is not the letter of one of the options.
    """
    options, text = _options(example), reply.text
    sections: dict[str, tuple[int, int, int]] = {}  # begin, begin of what follows the heading, end
    headings = list(_OPTION.finditer(text))
    ends = [*(heading.start() for heading in headings[1:]), len(text)]
    for heading, end in zip(headings, ends, strict=False):
        final = text.find(_FINAL, heading.end(), end)
        sections.setdefault(heading[1], (*heading.span(), end if final < 0 else final))
    others, parts = len(options) - 1, []
    shares = {True: 0.25 if others else 0.5, False: 0.25 / max(others, 1)}
    for name, option in zip(LETTERS, options, strict=False):
        start, body, end = sections.get(name, (0, 0, 0))
        section = text[body:end]
        named = section.lstrip().startswith(f"Replacing '?' with {option}:")
        yes, no = ([x.format(option) in section for x in words] for words in (_FITS, _FAILS))
        is_answer = name == example.answer
        right = all(yes) and not any(no) if is_answer else all(no) and not any(yes)
        value = 0.5 * named / len(options) + shares[is_answer] * right
        parts.append(Part(start, end, value))
    return parts


_FITS = (" matches well the ", ". {} is a strong candidate ")
_FAILS = (" does not fit the observed ", ". {} is unlikely ")
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
    images = [section.count(IMAGE) for section in sections]
    complete = pattern.strip() and IMAGE not in pattern + final[0]
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
