"""Chains that guess: a random answer without a reason.

A share of guessing chains in a warm-up imitates pretraining text, which only sometimes describes
the picture. Rewards then have to find out which chains pay.
"""

import random
from collections.abc import Sequence


def guess(id: str, share: float, options: Sequence[str]) -> str | None:
    """Returns a random option for a share of the examples, else None; depends on `id` alone."""
    rng = random.Random(f"{id}/guess")
    return rng.choice(options) if rng.random() < share else None


def check_guesses(share: float) -> None:
    """Raises a `ValueError` if a share of guessing chains is not in [0, 1]."""
    if not 0 <= share <= 1:
        raise ValueError(f"guesses {share} is no share of the chains; give a number from 0 to 1")
