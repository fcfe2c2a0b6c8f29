"""Work of a host in threads: in order, each once, and its errors."""

import collections
import threading
import time

import pytest

from mmcot_jax import threads


@pytest.mark.parametrize("count", [0, 1, 4, 5, 68, 69, 300])
@pytest.mark.parametrize("seconds", [0.0, 4e-3])
def test_every_index_is_computed_once_and_in_order(count, seconds):
    calls = collections.Counter()
    lock = threading.Lock()

    def square(i):
        time.sleep(seconds)
        with lock:
            calls[i] += 1
        return i * i

    assert threads.map_indices(square, count) == [i * i for i in range(count)]
    assert calls == collections.Counter(range(count))


def threads_of(seconds):
    """The threads that make calls of so many seconds each."""

    def thread(i):
        if seconds[i]:
            time.sleep(seconds[i])  # for 0 too it would let other processes run
        return threading.get_ident()

    return threads.map_indices(thread, len(seconds))


def test_only_calls_that_take_time_are_made_in_threads():
    here = threading.get_ident()
    assert set(threads_of([0.1] + [0.0] * 500)) == {here}  # the first call loads something
    found = threads_of([4e-3] * 300)
    assert set(found[:5]) == {here} and here not in found[5:]
    found = threads_of([0.0] * 100 + [4e-3] * 300)  # words first, then pictures
    assert set(found[:100]) == {here} and here not in found[200:]


@pytest.mark.parametrize("seconds", [0.0, 4e-3])
def test_an_error_is_raised(seconds):
    def fail_at_70(i):
        time.sleep(seconds)
        return 1 // (70 - i)

    with pytest.raises(ZeroDivisionError):
        threads.map_indices(fail_at_70, 100)
