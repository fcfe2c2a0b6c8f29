"""The values that an option takes, with the words for them."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

LARGEST = 2**32 - 1
"""The largest seed: numpy and grain take 32 bits."""


class Values(NamedTuple):
    """A set of values."""

    words: str
    """What to give, for an error."""
    has: Callable[[Any], bool]
    inside: tuple[Any, ...]
    """Examples of the set, and ..."""
    outside: tuple[Any, ...]
    """... of values that are not in it, for tests."""
    names: tuple[str, ...] = ()
    """All of the set, if its members are names."""


def whole(low: int, high: int | None = None) -> Values:
    """Whole numbers from `low` on, up to `high`."""
    words = f"a whole number of {low} or more" if high is None else f"a whole number {low}..{high}"
    outside = (low - 1, -2, low + 0.5 if high is None else high + 1, "many")

    def has(x: Any) -> bool:
        return type(x) is int and x >= low and (high is None or x <= high)

    return Values(words, has, (low, low + 1), outside)


def number(
    low: float | int | None = None,
    *,
    above: float | int | None = None,
    high: float | int | None = None,
    below: float | int | None = None,
) -> Values:
    """Finite numbers from `low` on or `above` a number, up to `high` or `below` a number."""
    least = above if low is None else low
    words, outside = [f"above {above}" if low is None else f"of {low} or more"], [least - 1.0]
    if low is None:
        outside.append(float(above))
    if high is not None:
        words, outside = [*words, f"at most {high}"], [*outside, high + 0.5]
    if below is not None:
        words, outside = [*words, f"below {below}"], [*outside, float(below)]

    def has(x: Any) -> bool:
        return (
            type(x) in (int, float)
            and math.isfinite(x)
            and (x >= low if low is not None else x > above)
            and (high is None or x <= high)
            and (below is None or x < below)
        )

    most = high if high is not None else below
    inside = least + (1.0 if most is None else (most - least) / 2)
    return Values(f"a number {' and '.join(words)}", has, (inside,), (*outside, math.nan, "much"))


def steps_or_share() -> Values:
    """Whole numbers from 1 on, or a share above 0 and below 1."""
    steps, share = whole(1), number(above=0, below=1)
    words = f"{steps.words}, or a share above 0 and below 1"
    return Values(words, lambda x: steps.has(x) or share.has(x), (10, 0.1), (-1, 1.5, -0.1))


def one_of(*values: str | bool) -> Values:
    """One of these names."""
    names = tuple(x for x in values if isinstance(x, str))
    shown = ", ".join(map(str, values))

    def has(x: Any) -> bool:
        return type(x) in (str, bool) and x in values

    return Values(shown, has, values, ("nonsense", 7), names)


def flag() -> Values:
    """True or False."""
    return Values("True or False", lambda x: type(x) is bool, (True, False), ("maybe", 1))


def flags() -> Values:
    """True or False, once or several times."""

    def has(x: Any) -> bool:
        return isinstance(x, tuple | list) and len(x) > 0 and all(type(n) is bool for n in x)

    return Values("True or False for each", has, ((True, False),), ((), (1,), True))


def text() -> Values:
    """Any text."""
    return Values("text", lambda x: type(x) is str, ("words",), (1.5,))


def group(words: str) -> Values:
    """A group of options, which have values of their own."""
    return Values(words, lambda x: False, (), (4,))


def names() -> Values:
    """One name, or several."""

    def has(x: Any) -> bool:
        return isinstance(x, tuple | list) and len(x) > 0 and all(type(n) is str for n in x)

    return Values("one name or more", has, (("a", "b"),), ((), (1,)))


def some_of(*values: str) -> Values:
    """One of these names, or several."""

    def has(x: Any) -> bool:
        return isinstance(x, tuple | list) and len(x) > 0 and all(n in values for n in x)

    return Values(", ".join(values), has, (values, values[:1]), (("nonsense",), (7,)), values)


def whole_numbers(low: int) -> Values:
    """One whole number of `low` or more, or several."""
    each = whole(low)

    def has(x: Any) -> bool:
        return isinstance(x, tuple | list) and len(x) > 0 and all(map(each.has, x))

    return Values(f"whole numbers of {low} or more", has, ((1, 2),), ((low - 1,), (1.5,), 1))


def sizes() -> Values:
    """A whole number of 1 or more, several of 0 or more, or the name of a dtype."""
    one, several = whole(1), whole_numbers(0)

    def has(x: Any) -> bool:
        return type(x) is str or one.has(x) or several.has(x)

    return Values(f"{one.words}, or {several.words}", has, (8, (0, 3)), (0, -1, (), (-1,)))


def numbers() -> Values:
    """One finite number, or several."""

    def has(x: Any) -> bool:
        if not isinstance(x, tuple | list) or not len(x):
            return False
        return all(type(n) in (int, float) and math.isfinite(n) for n in x)

    return Values("one number or more", has, ((1.0, 0.5),), (("a",), (math.nan,), 1.0))
