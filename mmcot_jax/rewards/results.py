"""The rewards of a batch, and samples that could not be scored.

Axes: B rows, R rewards.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np


class Part(NamedTuple):
    """A part of a reply and what it is worth; a reward may return several, which sum to it."""

    start: int
    """The first character, of `Reply.text`."""
    end: int
    """The first character after it."""
    value: float


Parts = Sequence[tuple[int, int, float]]
"""Those of a reply: start, end and value of each."""


class Failure(NamedTuple):
    """One sample that a reward could not score."""

    reward: str
    """The reward's short name."""
    row: int
    kind: str
    """"raised", "timeout", "died", "nan", "type", or "given up" if nearly all others were lost."""
    message: str


class RewardResult(NamedTuple):
    """The rewards of a batch, in the order of its rows; rewards by their short names."""

    values: np.ndarray
    """float64 [B R]; NaN: not applicable, or failed."""
    failures: tuple[Failure, ...] = ()
    times: Mapping[str, float] = MappingProxyType({})
    """Reward -> seconds from its first call to its last."""
    logged: Mapping[str, dict[str, float]] = MappingProxyType({})
    """Reward -> what it passed to TRL's `log_metric`: the mean of each name."""
    extra: Mapping[str, dict[str, list[Any]]] = MappingProxyType({})
    """Reward -> columns that it passed to TRL's `log_extra`: an entry a row, None if it failed."""
    parts: Mapping[str, Sequence[Parts | None]] = MappingProxyType({})
    """Reward -> the parts of each row, None where it returned a number or failed."""


def join(results: Sequence[RewardResult]) -> RewardResult:
    """Joins the results of several rewards."""
    return RewardResult(
        np.concatenate([result.values for result in results], axis=1),
        tuple(failure for result in results for failure in result.failures),
        {name: seconds for result in results for name, seconds in result.times.items()},
        {name: logged for result in results for name, logged in result.logged.items()},
        {name: columns for result in results for name, columns in result.extra.items()},
        {name: parts for result in results for name, parts in result.parts.items()},
    )


def concatenate(results: Sequence[RewardResult]) -> RewardResult:
    """Concatenates the rows of several batches, scored by the same rewards."""
    starts = np.cumsum([0, *(len(result.values) for result in results)])
    logged: dict[str, dict[str, list[float]]] = {}
    extra: dict[str, dict[str, list[Any]]] = {}
    times: dict[str, float] = {}
    parts: dict[str, list[Parts | None]] = {}
    for result, start, end in zip(results, starts[:-1], starts[1:], strict=True):
        for reward, seconds in result.times.items():
            times[reward] = times.get(reward, 0.0) + seconds
        for reward, values in result.logged.items():
            for name, value in values.items():
                logged.setdefault(reward, {}).setdefault(name, []).append(value)
        for reward, columns in result.extra.items():
            for name, column in columns.items():
                # other batches may lack the column
                rows = extra.setdefault(reward, {}).setdefault(name, [None] * int(starts[-1]))
                rows[start:end] = column
        for reward, each in result.parts.items():
            parts.setdefault(reward, [None] * int(starts[-1]))[start:end] = each
    return RewardResult(
        np.concatenate([result.values for result in results]),
        tuple(
            failure._replace(row=failure.row + int(start))
            for result, start in zip(results, starts[:-1], strict=True)
            for failure in result.failures
        ),
        times,
        {
            reward: {name: sum(values) / len(values) for name, values in found.items()}
            for reward, found in logged.items()
        },
        extra,
        parts,
    )


def failure_mask(result: RewardResult, names: Sequence[str]) -> np.ndarray:
    """Returns bool [B R], True where a sample could not be scored; `names` are short."""
    mask = np.zeros(result.values.shape, bool)
    for failure in result.failures:
        mask[failure.row, names.index(failure.reward)] = True
    return mask


class FailureWatch:
    """Counts steps in which a reward failed on every sample, and stops the run at `limit`."""

    def __init__(self, names: Sequence[str], limit: int = 3):
        self._streaks, self._limit = dict.fromkeys(names, 0), limit

    def count(self, result: RewardResult, all_failed: np.ndarray) -> None:
        """Counts one step.

        Args:
            result: this process's rewards.
            all_failed: bool [R], True for a reward that failed on every sample of all processes.

        Raises:
            ValueError: a reward failed on every sample of `limit` steps in a row.
        """
        for name, failed in zip(self._streaks, all_failed, strict=True):
            self._streaks[name] = self._streaks[name] + 1 if failed else 0
            if self._streaks[name] >= self._limit:
                failures = [f for f in result.failures if f.reward == name]
                kinds = Counter(f.kind for f in failures).most_common()
                counts = ", ".join(f"{kind} {times}" for kind, times in kinds)
                raise ValueError(
                    f"reward {name!r} failed on every sample of {self._limit} steps ({counts}; "
                    f"first: {failures[0].message}); fix it, or remove it from reward_funcs"
                )
