"""One reward of one batch, while workers score its rows.

Axes: B rows.
"""

import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from mmcot_jax.example import Example, Reply
from mmcot_jax.rewards import Reward, signature
from mmcot_jax.rewards.results import Failure, Parts, RewardResult
from mmcot_jax.rewards.trl import TrainerState
from mmcot_jax.rewards.worker import Job

MAX_LOST = 10
"""Calls that may time out or die before a reward may be given up for the rest of a batch.

It is given up if more than three times as many were lost as ended. If every call hangs, a batch
takes MAX_LOST time limits over the number of workers; a few slow rows cost those rows only.
"""
_GOLDEN = (5**0.5 - 1) / 2

Calls = tuple[tuple[int, ...], ...]
"""The rows of each call; a reward (example, reply) gets one row in a call."""
Sample = tuple[Example, Reply, np.ndarray]
"""One row: the question, the reply and its token ids."""


class Task:
    """The rows of a reward and what is known of them; its methods may be called by any thread.

    `groups` are the numbers of the rows of each group.
    """

    def __init__(
        self,
        reward: Reward,
        name: str,
        samples: Sequence[Sample],
        groups: Sequence[Sequence[int]],
        *,
        state: TrainerState,
    ):
        self.reward, self.name, self.future = reward, name, Future()
        self._samples, self._groups, self._state = samples, groups, state
        self._lock, self._began = threading.Lock(), math.nan
        self._missing = set(range(len(samples)))
        self._values = np.full(len(samples), math.nan)
        self._faults: dict[int, tuple[str, str]] = {}
        self._metrics: dict[str, list[float]] = {}
        self._extra: dict[str, list[Any]] = {}
        self._parts: dict[int, Parts] = {}
        self._lost = self._ended = 0
        if not samples:
            self.future.set_result(self._result())

    def parts(self, processes: int) -> Iterator[Calls]:
        """Yields the calls that are sent to a worker together.

        A TRL reward gets one group in a call, whatever the number of processes, so that no number
        depends on it; or all rows, if the function sets `f.whole_batch`. A worker makes all its
        calls of an async one at once. A reward of single samples gets so few rows that the workers
        stay equally busy. Neighbours are sent far from one another, so that a group whose rows all
        hang does not look like a reward that always hangs.
        """
        groups = [tuple(group) for group in self._groups]
        if self.reward.trl and self.reward.whole_batch:
            parts = [(sum(groups, ()),)]
        elif self.reward.trl and signature.is_async(self.reward.function):
            count = len(groups)
            shares = [
                groups[i * count // processes : (i + 1) * count // processes]
                for i in range(processes)
            ]
            parts = [tuple(share) for share in shares if share]
        elif self.reward.trl:
            parts = [(group,) for group in groups]
        else:
            most = max(1, len(self._samples) // (4 * processes))
            parts = [
                tuple((row,) for row in group[first : first + most])
                for group in groups
                for first in range(0, len(group), most)
            ]
        order = sorted(range(len(parts)), key=lambda number: number * _GOLDEN % 1)
        return (parts[number] for number in order)

    def job(self, calls: Calls, chat: bool, probe: bool) -> Job:
        """Returns some calls as a worker receives them."""
        with self._lock:
            if math.isnan(self._began):
                self._began = time.monotonic()
        samples = [[self._samples[row] for row in rows] for rows in calls]
        return Job(self.reward.name, samples, self._state, chat, probe)

    def given_up(self) -> str | None:
        """Returns why the remaining rows need not be scored, None if they need be."""
        with self._lock:
            if self._lost >= MAX_LOST and self._lost > 3 * self._ended:
                return f"{self._lost} calls before it hung or died, {self._ended} ended"
            return None

    def score(
        self,
        rows: Sequence[int],
        values: Sequence[float],
        faults: Sequence[Sequence[Any]],
        metrics: Mapping[str, Sequence[float]],
        extra: Mapping[str, Sequence[Any]],
        parts: Sequence[Sequence[Any]],
    ) -> None:
        """Takes the rewards of a call, what it logged and the parts of its rows."""
        with self._lock:
            self._ended += 1
            self._parts |= {rows[i]: [tuple(part) for part in each] for i, each in parts}
            for name, logged in metrics.items():
                self._metrics.setdefault(name, []).extend(logged)
            for name, column in extra.items():
                whole = self._extra.setdefault(name, [None] * len(self._samples))
                for row, entry in zip(rows, column, strict=True):
                    whole[row] = entry
        self._finish(rows, values, {rows[i]: (kind, said) for i, kind, said in faults})

    def fail(self, rows: Sequence[int], kind: str, message: str, lost: bool = False) -> None:
        """Notes that rows could not be scored; `lost` if a worker was lost with them."""
        with self._lock:
            self._lost += lost
            self._ended += kind == "raised"
        self._finish(rows, [math.nan] * len(rows), dict.fromkeys(rows, (kind, message)))

    def abandon(self, kind: str, message: str) -> None:
        """Fails every row that is not scored yet."""
        with self._lock:
            rows = sorted(self._missing)
        self.fail(rows, kind, message)

    def _finish(
        self, rows: Sequence[int], values: Sequence[float], faults: Mapping[int, tuple[str, str]]
    ) -> None:
        with self._lock:
            new = [i for i, row in enumerate(rows) if row in self._missing]
            for i in new:
                self._values[rows[i]] = values[i]
                if rows[i] in faults:
                    self._faults[rows[i]] = faults[rows[i]]
            self._missing -= set(rows)
            if new and not self._missing:
                self.future.set_result(self._result())

    def _result(self) -> RewardResult:
        seconds = time.monotonic() - self._began
        faults = sorted(self._faults.items())
        parts = [self._parts.get(row) for row in range(len(self._samples))]
        # sorted: calls end in any order, and a sum depends on it
        means = {name: sum(sorted(x)) / len(x) for name, x in self._metrics.items()}
        return RewardResult(
            self._values[:, None],
            tuple(Failure(self.name, row, *fault) for row, fault in faults),
            {self.name: 0.0 if math.isnan(seconds) else seconds},
            {self.name: means} if means else {},
            {self.name: self._extra} if self._extra else {},
            {self.name: parts} if any(parts) else {},
        )
