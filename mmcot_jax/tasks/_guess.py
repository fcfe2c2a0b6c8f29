"""Chains that guess: an answer taken at random, and no reason.

A warm-up with a share of them stands for what a model has read: some look, some do not. Rewards
have to find out which pays.
"""

import random
from collections.abc import Sequence


def guess(id: str, share: float, options: Sequence[str]) -> str | None:
    """For a share of the examples one of their options, by their id alone; None for the others."""
    rng = random.Random(f"{id}/guess")
    return rng.choice(options) if rng.random() < share else None


def check_guesses(share: float) -> None:
    """That it is a share.

    Raises:
        ValueError: it is not in [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"guesses {share} is no share of the chains; give a number from 0 to 1")
