"""Rewards in worker processes, each call with a time-out: none of them can stop or stall a run.

Axes: B rows, R rewards.
"""

import math
import multiprocessing
import numbers
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from pebble import ProcessExpired, ProcessPool

from mmcot_jax.example import Example, Reply
from mmcot_jax.rewards import resolve, trl

GIVE_UP = 3
"""Rows of one reward that may time out or die in a batch before its other rows are let go."""


class Failure(NamedTuple):
    """One sample that a reward could not score."""

    reward: str
    row: int
    kind: str
    """"raised", "timeout", "died", "nan", "type", or "given up" after `GIVE_UP` of its rows."""
    message: str


class Scored(NamedTuple):
    """A batch's rewards, in the order the rows were given."""

    values: np.ndarray
    """float64 [B R]; NaN: not applicable, or failed."""
    failures: tuple[Failure, ...]
    metrics: dict[str, float]
    """What TRL rewards logged, and `time/reward/<name>` in seconds."""
    extra: dict[str, list[Any]]


_Asked = tuple[Example, Reply, np.ndarray]
"""A row to score: the question, the reply and its tokens."""


class _ChunkResult(NamedTuple):
    """What a worker sends back for some rows."""

    values: list[float]
    faults: dict[int, tuple[str, str]]
    """Row in this part -> kind and message."""
    metrics: dict[str, float]
    extra: dict[str, list[Any]]


class Pool:
    """Worker processes that score; a context.

    `chat`: rewards written for TRL see lists of messages, not strings.

    Raises:
        ValueError: no rewards, an unknown one, one named twice, another number of weights.
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
        check(names, weights, timeout_s, processes)
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Ends them, whatever they are doing."""
        self._pool.stop()
        self._pool.join()
        for future in list(self._unfinished):
            # pebble leaves a task unanswered whose worker had not taken it yet
            if not future.done():
                future.set_exception(ProcessExpired("the pool was closed"))
        self._threads.shutdown()

    def submit(
        self,
        examples: Sequence[Example],
        replies: Sequence[Reply],
        ids: Sequence[np.ndarray] = (),
        step: int = 0,
    ) -> "Job":
        """Begins to score; returns at once.

        `ids`, the replies' tokens, and `step` are for TRL's `completion_ids` and `global_step`.
        Pixels and embeddings are sent to rewards that look; the others are sent words.
        """
        ids = ids or [np.zeros(0, np.int32)] * len(replies)
        rows = list(zip(examples, replies, ids, strict=True))
        # a group's rows share their example, before and after: it is sent once
        unseen = {id(example): example.without_pixels for example in examples}
        words = [
            (unseen[id(example)], reply.without_pixels, tokens) for example, reply, tokens in rows
        ]
        lanes = [
            self._threads.submit(
                self._score, name, rows if resolve(name).needs_images else words, step
            )
            for name in self._names
        ]
        return Job(self._names, lanes, len(rows))

    def _score(self, name: str, rows: Sequence[_Asked], step: int) -> "_RewardColumn":
        """All rows in one call; where that fails, each by itself, so that its neighbours live."""
        began = time.monotonic()
        whole = _wait(self._schedule(name, rows, step))
        values, failures = np.full(len(rows), np.nan), []
        if isinstance(whole, _ChunkResult):
            values[:] = whole.values
            faults, metrics, extra = whole.faults, whole.metrics, whole.extra
        else:
            faults, metrics, extra = self._one_by_one(name, rows, step, values), {}, {}
        for row, (kind, message) in sorted(faults.items()):
            failures.append(Failure(name, row, kind, message))
        return _RewardColumn(values, failures, metrics, extra, time.monotonic() - began)

    def _one_by_one(self, name, rows, step, values) -> dict[int, tuple[str, str]]:
        faults: dict[int, tuple[str, str]] = {}
        stuck = 0
        for first in range(0, len(rows), self._processes):
            block = range(first, min(first + self._processes, len(rows)))
            if stuck >= GIVE_UP:
                faults |= {i: ("given up", f"after {stuck} rows hung or died") for i in block}
                continue
            waiting = {i: self._schedule(name, [rows[i]], step) for i in block}
            for i, future in waiting.items():
                part = _wait(future)
                if isinstance(part, _ChunkResult):
                    values[i] = part.values[0]
                    if 0 in part.faults:
                        faults[i] = part.faults[0]
                else:
                    faults[i] = part
                    stuck += part[0] in ("timeout", "died")
        return faults

    def _schedule(self, name: str, rows: Sequence[_Asked], step: int) -> Future:
        arguments = (name, rows, step, self._chat)
        future = self._pool.schedule(_work, args=arguments, timeout=self._timeout)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future


class _RewardColumn(NamedTuple):
    """One reward's column."""

    values: np.ndarray
    failures: list[Failure]
    metrics: dict[str, float]
    extra: dict[str, list[Any]]
    seconds: float


class Job:
    """A batch being scored."""

    def __init__(self, names: Sequence[str], lanes: Sequence[Future], rows: int):
        self._names, self._lanes, self._rows = names, lanes, rows

    def result(self) -> Scored:
        """Waits for the last reward."""
        lanes = [lane.result() for lane in self._lanes]
        metrics: dict[str, float] = {}
        extra: dict[str, list[Any]] = {}
        for name, lane in zip(self._names, lanes, strict=True):
            metrics |= lane.metrics | {f"time/reward/{name}": lane.seconds}
            extra |= lane.extra
        failures = tuple(failure for lane in lanes for failure in lane.failures)
        values = np.stack([lane.values for lane in lanes], axis=1)
        return Scored(values.reshape(self._rows, len(lanes)), failures, metrics, extra)


def check(
    names: Sequence[str], weights: Sequence[float] | None, timeout_s: float, processes: int
) -> None:
    """That these are rewards that can be scored.

    Raises:
        ValueError: they are not; says which.
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


def failed(scored: Scored, names: Sequence[str]) -> np.ndarray:
    """bool [B R]: which samples could not be scored."""
    faults = np.zeros(scored.values.shape, bool)
    for failure in scored.failures:
        faults[failure.row, names.index(failure.reward)] = True
    return faults


class FailureWatch:
    """Counts steps in which a reward failed on every sample, and stops the run at `limit`."""

    def __init__(self, names: Sequence[str], limit: int = 3):
        self._streak, self._limit = dict.fromkeys(names, 0), limit

    def count(self, scored: Scored, whole: np.ndarray) -> None:
        """One step's; `whole`, bool [R]: which rewards failed on every sample of all processes.

        Raises:
            ValueError: a reward did in `limit` steps, one after the other.
        """
        for name, all_failed in zip(self._streak, whole, strict=True):
            self._streak[name] = self._streak[name] + 1 if all_failed else 0
            if self._streak[name] >= self._limit:
                kinds = Counter(f.kind for f in scored.failures if f.reward == name)
                first = next(f.message for f in scored.failures if f.reward == name)
                how = ", ".join(f"{kind} {times}" for kind, times in kinds.most_common())
                raise ValueError(
                    f"reward {name!r} failed on every sample of {self._limit} steps ({how}; first: "
                    f"{first}); mend it, or take it out of reward_funcs"
                )


def _wait(future: Future) -> _ChunkResult | tuple[str, str]:
    """What a worker sent, or why it did not: (kind, message)."""
    try:
        return future.result()
    except TimeoutError:
        return "timeout", "it ran past reward_timeout"
    except ProcessExpired as error:
        return "died", f"its process ended with status {error.exitcode}"
    except Exception as error:  # what it raised for the whole batch, or cannot be sent back
        return "raised", f"{type(error).__name__}: {error}"


def _work(name: str, rows: Sequence[_Asked], step: int, chat: bool) -> _ChunkResult:
    """In a worker: a reward's values for some rows."""
    reward = resolve(name)
    examples, replies, ids = (list(column) for column in zip(*rows, strict=True))
    if reward.trl:
        tokens = [row.tolist() for row in ids]
        called = trl.call(reward.function, examples, replies, tokens, step=step, chat=chat)
        values, metrics, extra = called.values, called.metrics, called.extra
        faults: dict[int, tuple[str, str]] = {}
    else:
        values, metrics, extra, faults = [], {}, {}, {}
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
    """Columns that JSON can hold."""
    kinds = str | int | float | bool | None
    return {
        k: [v if isinstance(v, kinds) else repr(v) for v in values] for k, values in extra.items()
    }
