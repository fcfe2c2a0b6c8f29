"""Work that one process of a run does for all: on files that all of them share."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")

_REPORT_BYTES = 4096


def on_main_process(action: Callable[[], T]) -> T | None:
    """Runs `action` on the main process while the others wait; they return None.

    Raises:
        ValueError: the action raised an error, which the main process raises as it is.
    """
    if jax.process_count() == 1:
        return action()
    main = jax.process_index() == 0
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(action) if main else None
        while True:  # a collective must not wait for minutes: one a second
            report = np.zeros(_REPORT_BYTES, np.uint8)
            if future is not None and wait([future], timeout=1.0).done:
                error = future.exception()
                said = "=" if error is None else str(error) or type(error).__name__
                text = said.encode()[:_REPORT_BYTES]
                report[: len(text)] = np.frombuffer(text, np.uint8)
            text = bytes(multihost_utils.broadcast_one_to_all(report)).rstrip(b"\0")
            if text and future is not None:
                return future.result()
            if text == b"=":
                return None
            if text:
                raise ValueError(text.decode(errors="replace"))
