"""Bootstrap intervals of means whose values come in clusters. No jax.

Axes: R resamples, Q clusters, n values.
"""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
Seed = int | Sequence[int]


class Bootstrap:
    """Resamples clusters with replacement; all intervals of one object use the same resamples.

    The answers to one question are a cluster: they are no independent evidence. The interval of a
    difference is that of the paired differences, one value each.
    Source: Efron and Tibshirani 1993, percentile intervals.
    """

    def __init__(self, clusters: Sequence[str], seed: Seed):
        """`clusters` has the cluster of each value.

        Raises:
            ValueError: there is no value.
        """
        if not clusters:
            raise ValueError("no value to resample: give at least one")
        names = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
        self._cluster = np.array([names[name] for name in clusters])
        q = len(names)
        rng = np.random.default_rng(seed)
        self._counts = rng.multinomial(q, np.full(q, 1 / q), size=RESAMPLES)  # [R Q]
        self._sizes = np.bincount(self._cluster, minlength=q)

    def interval(self, values: np.ndarray) -> dict[str, float]:
        """Returns `{"mean", "low", "high"}` of values [n]: their mean and its interval."""
        sums = np.bincount(self._cluster, weights=values, minlength=len(self._sizes))
        means = self._counts @ sums / (self._counts @ self._sizes)
        tail = 50 * (1 - LEVEL)
        low, high = np.percentile(means, (tail, 100 - tail))
        return {"mean": float(values.mean()), "low": float(low), "high": float(high)}
