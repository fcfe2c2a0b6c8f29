"""A reward for the places that a chain states as `tasks.scenes` teaches it, `See: red top, ...`."""

from collections import Counter

from mmcot_jax.example import Example, Reply


def stated(text: str) -> list[str]:
    """Returns the things with their places after the first `See:`, up to the full stop."""
    words, stop, _ = text.partition("See: ")[2].partition(".")
    return [part.strip() for part in words.split(",")] if stop else []


def places(example: Example, reply: Reply) -> float:
    """Returns the share of things in question whose places the reply states, 0.0 to 1.0.

    It is the number of statements that are true and asked for, each once, divided by the number
    of things in question or of statements, whichever is larger.

    Raises:
        ValueError: the example has no `extra["places"]`, texts such as "red top left".
    """
    true = example.extra.get("places")
    if not true:
        raise ValueError(
            f"example {example.id!r} has no extra['places'], texts such as 'red top left', to "
            "compare a chain with; give them, or take another reward"
        )
    said = stated(reply.text)
    return sum((Counter(said) & Counter(true)).values()) / max(len(said), len(true))
