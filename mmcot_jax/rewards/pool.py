"""Computes rewards in worker processes, each call with a time-out, so that none can stop a run.

Axes: B rows, R rewards.
"""

import math
import multiprocessing
import numbers
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from typing import Any, NamedTuple

import numpy as np
from pebble import ProcessExpired, ProcessPool

from mmcot_jax.example import Example, Reply
from mmcot_jax.rewards import resolve, trl

MAX_LOST = 3
"""Rows of a reward that may time out or die in a batch before its remaining rows are skipped."""


class Failure(NamedTuple):
    """One sample that a reward could not score."""

    reward: str
    row: int
    kind: str
    """"raised", "timeout", "died", "nan", "type", or "given up" after `MAX_LOST` lost rows."""
    message: str


class RewardResult(NamedTuple):
    """The rewards of a batch, in the order of its rows."""

    values: np.ndarray
    """float64 [B R]; NaN: not applicable, or failed."""
    failures: tuple[Failure, ...]
    metrics: dict[str, float]
    """Metrics that TRL rewards logged, and `time/reward/<name>` in seconds."""
    extra: dict[str, list[Any]]


_Sample = tuple[Example, Reply, np.ndarray]
"""One row: the question, the reply and its token ids."""


class _ChunkResult(NamedTuple):
    """A worker's result for some rows."""

    values: list[float]
    faults: dict[int, tuple[str, str]]
    """Row of the chunk -> kind and message."""
    metrics: dict[str, float]
    extra: dict[str, list[Any]]


class Pool:
    """A context with worker processes that compute rewards.

    `chat`: rewards written for TRL receive lists of messages instead of strings.

    Raises:
        ValueError: as `check_rewards`.
    """

    def __init__(
        self,
        names: Sequence[str],
        weights: Sequence[float] | None = None,
        *,
        timeout_s: float,
        processes: int,
        chat: bool = False,
    ):
        check_rewards(names, weights, timeout_s, processes)
        self._names, self._timeout, self._processes = tuple(names), timeout_s, processes
        self._chat = chat

    def __enter__(self) -> "Pool":
        """Starts the workers."""
        # a forked child of a process that runs jax's threads may hang: spawn
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPool(max_workers=self._processes, context=context)
        self._threads = ThreadPoolExecutor(max_workers=len(self._names))
        self._unfinished: set[Future] = set()
        return self

    def __exit__(self, *_: object) -> None:
        """Kills the workers, whatever they are doing."""
        self._pool.stop()
        self._pool.join()
        for future in list(self._unfinished):
            # pebble does not resolve a task that no worker has taken yet
            if not future.done():
                future.set_exception(ProcessExpired("the pool was closed"))
        self._threads.shutdown()

    def submit(
        self,
        examples: Sequence[Example],
        replies: Sequence[Reply],
        ids: Sequence[np.ndarray] = (),
        step: int = 0,
    ) -> "PendingRewards":
        """Starts to score a batch and returns at once.

        `ids`, the replies' tokens, and `step` become TRL's `completion_ids` and `global_step`.
        Pixels and embeddings are sent only to rewards that need images.
        """
        ids = ids or [np.zeros(0, np.int32)] * len(replies)
        rows = list(zip(examples, replies, ids, strict=True))
        # the rows of a group share one Example object, so pickle sends it once
        stripped = {id(example): example.without_pixels for example in examples}
        text_rows = [
            (stripped[id(example)], reply.without_pixels, tokens) for example, reply, tokens in rows
        ]
        columns = [
            self._threads.submit(
                self._score, name, rows if resolve(name).needs_images else text_rows, step
            )
            for name in self._names
        ]
        return PendingRewards(columns)

    def _score(self, name: str, rows: Sequence[_Sample], step: int) -> RewardResult:
        """Scores all rows in one call; if that fails, each row in its own call."""
        began = time.monotonic()
        result = _wait(self._schedule(name, rows, step))
        if not isinstance(result, _ChunkResult):
            result = self._one_by_one(name, rows, step)
        failures = [Failure(name, row, *fault) for row, fault in sorted(result.faults.items())]
        metrics = {**result.metrics, f"time/reward/{name}": time.monotonic() - began}
        values = np.array(result.values, np.float64)[:, None]
        return RewardResult(values, tuple(failures), metrics, result.extra)

    def _one_by_one(self, name: str, rows: Sequence[_Sample], step: int) -> _ChunkResult:
        values, faults, lost = [math.nan] * len(rows), {}, 0
        for first in range(0, len(rows), self._processes):
            chunk = range(first, min(first + self._processes, len(rows)))
            if lost >= MAX_LOST:
                faults |= {i: ("given up", f"after {lost} rows hung or died") for i in chunk}
                continue
            pending = {i: self._schedule(name, [rows[i]], step) for i in chunk}
            for i, future in pending.items():
                result = _wait(future)
                if isinstance(result, _ChunkResult):
                    values[i] = result.values[0]
                    if 0 in result.faults:
                        faults[i] = result.faults[0]
                else:
                    faults[i] = result
                    lost += result[0] in ("timeout", "died")
        return _ChunkResult(values, faults, {}, {})

    def _schedule(self, name: str, rows: Sequence[_Sample], step: int) -> Future:
        arguments = (name, rows, step, self._chat)
        future = self._pool.schedule(_work, args=arguments, timeout=self._timeout)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future


class PendingRewards:
    """The rewards of a batch while they are computed."""

    def __init__(self, columns: Sequence[Future]):
        self._columns = columns

    def result(self) -> RewardResult:
        """Waits for the last reward and returns all."""
        columns = [column.result() for column in self._columns]
        return RewardResult(
            np.concatenate([column.values for column in columns], axis=1),
            tuple(failure for column in columns for failure in column.failures),
            {name: value for column in columns for name, value in column.metrics.items()},
            {name: entries for column in columns for name, entries in column.extra.items()},
        )


def check_rewards(
    names: Sequence[str], weights: Sequence[float] | None, timeout_s: float, processes: int
) -> None:
    """Checks the rewards of a config.

    Raises:
        ValueError: no rewards, an unknown one, one named twice, another number of weights, no
            time or no process to compute them.
    """
    if not names:
        raise ValueError("there are no rewards; give reward_funcs at least one")
    for name, times in Counter(names).items():
        if times > 1:
            raise ValueError(f"reward {name!r} is named {times} times; name each once")
    if weights is not None and len(weights) and len(weights) != len(names):
        raise ValueError(
            f"there are {len(weights)} reward_weights {tuple(weights)} for {len(names)} "
            f"reward_funcs ({', '.join(names)}); give one weight a reward, or none"
        )
    if timeout_s <= 0 or processes < 1:
        raise ValueError(
            f"reward_timeout is {timeout_s} and reward_processes {processes}; give seconds above 0 "
            "and at least 1 process"
        )
    for name in names:
        resolve(name)


def failure_mask(result: RewardResult, names: Sequence[str]) -> np.ndarray:
    """Returns bool [B R], True where a sample could not be scored."""
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


def _wait(future: Future) -> _ChunkResult | tuple[str, str]:
    """Returns a worker's result, or the kind and message of its failure."""
    try:
        return future.result()
    except TimeoutError:
        return "timeout", "it ran past reward_timeout"
    except ProcessExpired as error:
        return "died", f"its process ended with status {error.exitcode}"
    except Exception as error:  # raised for the whole batch, or the result cannot be pickled
        return "raised", f"{type(error).__name__}: {error}"


def _work(name: str, rows: Sequence[_Sample], step: int, chat: bool) -> _ChunkResult:
    """Computes a reward of some rows, in a worker."""
    reward = resolve(name)
    examples, replies, ids = (list(column) for column in zip(*rows, strict=True))
    values, metrics, extra, faults = [], {}, {}, {}
    if reward.trl:
        tokens = [row.tolist() for row in ids]
        called = trl.call(reward.function, examples, replies, tokens, step=step, chat=chat)
        values, metrics, extra = called
    else:
        for i, (example, reply) in enumerate(zip(examples, replies, strict=True)):
            try:
                values.append(reward.function(example, reply))
            except Exception as error:
                values.append(None)
                faults[i] = ("raised", f"{type(error).__name__}: {error}")
    checked = [_number(value) for value in values]
    faults |= {i: fault for i, (_, fault) in enumerate(checked) if fault and i not in faults}
    return _ChunkResult([value for value, _ in checked], faults, metrics, _plain(extra))


def _number(value: Any) -> tuple[float, tuple[str, str] | None]:
    if value is None:
        return math.nan, None
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if not isinstance(value, numbers.Real | np.bool_):
        return math.nan, ("type", f"it returned a {type(value).__name__}, {value!r:.60}")
    if not math.isfinite(value):
        return math.nan, ("nan", f"it returned {value}")
    return float(value), None


def _plain(extra: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Replaces values that JSON cannot hold by their repr."""
    kinds = str | int | float | bool | None
    return {
        k: [v if isinstance(v, kinds) else repr(v) for v in values] for k, values in extra.items()
    }
