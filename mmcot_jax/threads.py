"""Work of a host in threads. Host only."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_TRIED, _PART = 4, 64
"""Calls that are timed first, and those made at a time: to hand one over costs a tenth of a row."""
_SHORT_S = 1e-3
"""Shorter calls are made in one thread: threads that open small files take turns for each."""


def map_indices(function: Callable[[int], T], count: int) -> list[T]:
    """Returns function(0), ..., function(count - 1); raises what it raises.

    Computed in threads after the first part of which a third is not short: the headers of
    20,000 photographs in the page cache take twice as long in six threads as in one.
    """

    def compute(begin: int) -> list[T]:
        return [function(i) for i in range(begin, min(begin + _PART, count))]

    values = [function(0)] if count else []  # not timed: it may have to load something
    size, short = _TRIED, True
    while short and len(values) < count:
        seconds = []
        for index in range(len(values), min(len(values) + size, count)):
            began = time.perf_counter()
            values.append(function(index))
            seconds.append(time.perf_counter() - began)
        # on a busy machine a few calls have to wait
        short = sorted(seconds)[2 * len(seconds) // 3] < _SHORT_S
        size = _PART
    with ThreadPoolExecutor() as threads:
        for part in threads.map(compute, range(len(values), count, _PART)):
            values += part
    return values
