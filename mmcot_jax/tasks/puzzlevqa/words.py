"""What the kinds' words share: templates read backwards, lists as Python prints them, options."""

import random
import re
from ast import literal_eval
from collections.abc import Iterable, Mapping, Sequence
from string import Formatter
from typing import Any

from mmcot_jax.tasks.puzzlevqa.canvas import COLORS

MISSING = "?"
"""The part that is asked for, in captions and pictures."""


def read(template: str, text: str) -> dict[str, Any]:
    """The values with which `template.format` gives `text`; lists come back as lists.

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
        raise ValueError(f"{text!r} does not read like {template!r}; is the record of this kind?")
    try:
        return {
            field: literal_eval(value) if value.startswith("[") else value
            for field, value in found.groupdict().items()
        }
    except (SyntaxError, ValueError):
        raise ValueError(f"{text!r} holds a list that is cut or broken; mend the record") from None


def options(rng: random.Random, answer: str, names: Iterable[str], k: int = 4) -> tuple[str, ...]:
    """The answer among k - 1 other names, in any order."""
    others = rng.sample([name for name in names if name != answer], k - 1)
    return tuple(rng.sample([*others, answer], k))


def record_options(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The options of a released record, which holds some as numbers.

    Raises:
        ValueError: the answer is not among them.
    """
    found = tuple(str(option) for option in record["options"])
    check(str(record["answer"]), found)
    return found


def check(option: str, offered: Sequence[str]) -> None:
    """Refuses what is not offered.

    Raises:
        ValueError: `option` is none of the options.
    """
    if option not in offered:
        raise ValueError(f"{option!r} is no option of this puzzle; give one of {list(offered)}")


def put(shown: tuple, option: str | int) -> tuple:
    """`shown` with the missing part replaced."""
    return tuple(option if part == MISSING else part for part in shown)


def three_colors(rng: random.Random) -> list[str]:
    """Three named colours, never orange beside yellow: hard to tell apart."""
    while True:
        names = rng.sample(list(COLORS), 3)
        if not {"orange", "yellow"} <= set(names):
            return names
