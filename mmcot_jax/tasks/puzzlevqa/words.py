"""Helpers for the words of all kinds: parsing a template, sampling options and colours, rows."""

import random
import re
from ast import literal_eval
from collections.abc import Iterable, Mapping, Sequence
from string import Formatter
from typing import Any

from mmcot_jax.tasks.puzzlevqa.canvas import COLORS

Label = int | str

MISSING = "?"
"""The label of the missing part, in captions and pictures."""


def parse(template: str, text: str) -> dict[str, Any]:
    """Inverts `template.format`: returns the fields of `text`, lists as lists.

    Raises:
        ValueError: the text is not an instance of the template.
    """
    pattern, seen = "", set()
    for literal, field, _, _ in Formatter().parse(template):
        pattern += re.escape(literal)
        if field is not None:
            pattern += f"(?P={field})" if field in seen else f"(?P<{field}>.+?)"
            seen.add(field)
    found = re.fullmatch(pattern, text)
    if found is None:
        raise ValueError(f"{text!r} does not match {template!r}; is the record of this kind?")
    try:
        return {
            field: literal_eval(value) if value.startswith("[") else value
            for field, value in found.groupdict().items()
        }
    except (SyntaxError, ValueError):
        raise ValueError(f"{text!r} has an incomplete list; correct the record") from None


def options(rng: random.Random, answer: str, names: Iterable[str], k: int = 4) -> tuple[str, ...]:
    """Samples `k` options in random order: the answer and k - 1 other names."""
    others = rng.sample([name for name in names if name != answer], k - 1)
    return tuple(rng.sample([*others, answer], k))


def number_options(rng: random.Random, answer: int) -> tuple[str, ...]:
    """Samples four numbers, the answer among them, below the next power of ten."""
    limit = 10
    while answer > limit:
        limit *= 10
    return options(rng, str(answer), map(str, range(limit)))


def record_options(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the options of a released record as strings; some records have numbers.

    Raises:
        ValueError: the answer is not among them.
    """
    found = tuple(str(option) for option in record["options"])
    check_option(str(record["answer"]), found)
    return found


def check_option(option: str, offered: Sequence[str]) -> None:
    """Checks that an option exists.

    Raises:
        ValueError: it does not.
    """
    if option not in offered:
        raise ValueError(f"{option!r} is no option of this puzzle; give one of {list(offered)}")


def rows(cells: Sequence[Any]) -> dict[str, list[Any]]:
    """Returns the `first`, `second` and `third` row of nine cells."""
    return {"first": [*cells[:3]], "second": [*cells[3:6]], "third": [*cells[6:]]}


def three_colors(rng: random.Random) -> list[str]:
    """Samples three colours, never both orange and yellow: they are hard to tell apart."""
    while True:
        names = rng.sample(list(COLORS), 3)
        if not {"orange", "yellow"} <= set(names):
            return names
