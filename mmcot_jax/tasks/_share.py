"""Which of a task's examples an option that applies to a share of them takes."""

import zlib


def chance(id: str) -> float:
    """A number in [0, 1) of an example's own, the same in every run."""
    return zlib.crc32(id.encode()) / 2**32


def check_share(name: str, share: float) -> None:
    """That it is one.

    Raises:
        ValueError: it is not in [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"{name} {share} is no share of the examples; give a number from 0 to 1")
