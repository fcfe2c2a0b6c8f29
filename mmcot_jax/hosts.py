"""Many processes as one run: how they join, and the notice that machines are taken away."""

import atexit
import os
import signal
import subprocess
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

EXPLICIT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
"""Where process 0 listens (host:port), how many processes there are, which of them this is."""
HEARTBEAT_SECONDS = 30
"""A process silent for that long is dead, and the others end."""
GRACE_SECONDS = 2
"""What the others have to say why they end, where process 0 ends too."""


class Place(NamedTuple):
    """A process among those of its run."""

    coordinator: str
    count: int
    index: int


def place(environment: Mapping[str, str]) -> Place | None:
    """What the variables of `EXPLICIT` say; None where none is set.

    Raises:
        ValueError: some are missing, or they are no numbers of a process.
    """
    given = {name: environment[name] for name in EXPLICIT if environment.get(name)}
    if not given:
        return None
    if missing := [name for name in EXPLICIT if name not in given]:
        raise ValueError(
            f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} set and "
            f"{' and '.join(missing)} not: set all of {', '.join(EXPLICIT)}, or none"
        )
    address, count, index = given.values()
    if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
        raise ValueError(
            f"JAX_PROCESS_ID is {index!r} and JAX_NUM_PROCESSES {count!r}: give each process its "
            "number, from 0 up to below the number of processes"
        )
    return Place(address, int(count), int(index))


def join() -> None:
    """Makes this process one of those its environment names; before anything touches a device.

    They are named by the variables of `EXPLICIT`; on a TPU by the slice itself, also where it is
    one of several (TPU VMs' metadata, TPU_WORKER_HOSTNAMES and MEGASCALE_* of Kubernetes). Where
    neither is there, this process is alone.

    Raises:
        ValueError: as `place`.
    """
    given = place(os.environ)
    timeouts = {"heartbeat_timeout_seconds": HEARTBEAT_SECONDS}
    if given:
        jax.distributed.initialize(given.coordinator, given.count, given.index, **timeouts)
    elif _on_tpu():
        jax.distributed.initialize(**timeouts)
    if jax.process_count() > 1:
        _connect()
        _start_watchdog()


def _connect() -> None:
    """All devices with one another, while the processes are together.

    Where devices meet for the first time, a CPU waits 30 s for the last, however long it compiles.
    """
    multihost_utils.process_allgather(np.zeros(1, np.uint8))
    place = jax.sharding.NamedSharding(
        jax.make_mesh((jax.device_count(),), ("all",), axis_types=(jax.sharding.AxisType.Auto,)),
        jax.P("all"),
    )
    ones = jax.make_array_from_callback(
        (jax.device_count(),), place, lambda _: np.ones(1, np.float32)
    )
    jax.block_until_ready(jax.jit(jnp.sum)(ones))


def _on_tpu() -> bool:
    # jax sets the variable when it is imported where libtpu and chips are
    platforms = jax.config.jax_platforms or ""
    return "TPU_ML_PLATFORM" in os.environ and "tpu" in platforms.split(",")


_watchdog: subprocess.Popen | None = None


def _start_watchdog() -> None:
    """A line for the end that this process cannot speak of itself.

    Where another process is gone, jax's runtime aborts this one from within. A shell waits for its
    end, and says it where nothing else was said before.
    """
    global _watchdog
    line = (
        f"error: process {jax.process_index()} of {jax.process_count()} was ended from outside, or "
        f"another one was, or was silent for {HEARTBEAT_SECONDS} s: what the others printed says "
        "which was first; the same command goes on from the last checkpoint"
    )
    script = 'read -r said || echo "$0" >&2'
    _watchdog = subprocess.Popen(["sh", "-c", script, line], stdin=subprocess.PIPE)
    atexit.register(_dismiss_watchdog)


def _dismiss_watchdog() -> None:
    """All is said that there is to say."""
    if _watchdog and _watchdog.stdin and not _watchdog.stdin.closed:
        _watchdog.stdin.write(b"yes\n")
        _watchdog.stdin.close()
        _watchdog.wait()


class Preempted(Exception):
    """A run that ends before its end, with all of it saved that it goes on from."""


def never_preempted() -> bool:
    """The notice of a run that nobody interrupts."""
    return False


class PreemptionNotice:
    """Whether the machines are about to be taken away: a SIGTERM to any process of the run.

    A context, in the main thread. Every process asks it at the same places, and all are told at
    the same one.
    """

    def __init__(self):
        self._asked, self._signalled = 0, False

    def __enter__(self) -> "PreemptionNotice":
        """Listens; of several processes jax does."""
        if not jax.distributed.is_initialized():
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Listens no more."""
        if not jax.distributed.is_initialized():
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, *_) -> None:
        self._signalled = True

    def __call__(self) -> bool:
        """Whether to save and end now."""
        self._asked += 1  # the processes agree on one of these numbers, the same in all stages
        if jax.distributed.is_initialized():
            return multihost_utils.reached_preemption_sync_point(self._asked)
        return self._signalled


def first() -> bool:
    """Whether this is the process that prints, and writes what is written once."""
    return jax.process_index() == 0


def agree(text: str) -> None:
    """That all processes have the same text: the config they are to run.

    Raises:
        ValueError: one has another, on every process.
    """
    if jax.process_count() == 1:
        return
    sums = multihost_utils.process_allgather(np.uint32(zlib.crc32(text.encode())))
    if others := np.flatnonzero(sums != sums[0]).tolist():
        raise ValueError(
            f"process {others[0]} of {len(sums)} was given another config than process 0: start "
            "all with the same command"
        )


def run_and_exit(main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> NoReturn:
    """Runs a command and ends the process with its status.

    One of several processes that fails ends at once: by itself it would wait for the others, and
    they for it.
    """
    try:
        status = main(argv)
    except BaseException:
        if not _several():
            raise
        traceback.print_exc()
        status = 1
    if status and _several():
        sys.stdout.flush()
        sys.stderr.flush()
        if status != 1:
            _dismiss_watchdog()
        if first():
            time.sleep(GRACE_SECONDS)  # with it the others' connections end, in the midst of a line
        os._exit(status)
    sys.exit(status)


def _several() -> bool:
    return jax.distributed.is_initialized() and jax.process_count() > 1
