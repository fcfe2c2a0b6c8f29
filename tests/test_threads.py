"""Work of a host in threads: in order, each once, and its errors."""

import collections
import threading

import pytest

from mmcot_jax import threads


@pytest.mark.parametrize("count", [0, 1, 64, 65, 1000])
def test_every_index_is_computed_once_and_in_order(count):
    calls = collections.Counter()
    lock = threading.Lock()

    def square(i):
        with lock:
            calls[i] += 1
        return i * i

    assert threads.map_indices(square, count) == [i * i for i in range(count)]
    assert calls == collections.Counter(range(count))


def test_an_error_is_raised():
    with pytest.raises(ZeroDivisionError):
        threads.map_indices(lambda i: 1 // (70 - i), 100)
