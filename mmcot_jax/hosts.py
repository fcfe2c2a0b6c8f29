"""Several processes as one run: `jax.distributed`, preemption, exit."""

import atexit
import gc
import logging
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from mmcot_jax import signals, trackers

ENV_VARS = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
"""Address of process 0 (host:port), number of processes, index of this process."""
HEARTBEAT_SECONDS = 30
"""A process that is silent for this long counts as dead, and the others end."""
GRACE_SECONDS = 2
"""Time the other processes have to print their errors before process 0 exits."""


def read_environment(environment: Mapping[str, str]) -> dict[str, str | int]:
    """Returns the arguments of `jax.distributed.initialize` from `ENV_VARS`; {} if none is set.

    Raises:
        ValueError: some are missing, or are not the numbers of a process.
    """
    given = {name: environment[name] for name in ENV_VARS if environment.get(name)}
    if not given:
        return {}
    if missing := [name for name in ENV_VARS if name not in given]:
        raise ValueError(
            f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} set and "
            f"{' and '.join(missing)} not: set all of {', '.join(ENV_VARS)}, or none"
        )
    address, count, index = given.values()
    if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
        raise ValueError(
            f"JAX_PROCESS_ID is {index!r} and JAX_NUM_PROCESSES {count!r}: give each process its "
            "number, from 0 up to below the number of processes"
        )
    return {
        "coordinator_address": address,
        "num_processes": int(count),
        "process_id": int(index),
    }


def initialize() -> None:
    """Connects this process to the others of its run; call it before any use of a device.

    The environment defines the run: `ENV_VARS`, or on one or several TPU slices the TPU VMs'
    metadata, TPU_WORKER_HOSTNAMES and MEGASCALE_* (Kubernetes). Without these the run is this one
    process.

    Raises:
        ValueError: as `read_environment`; or jax has no such devices as JAX_PLATFORMS names.
    """
    _configure_process()
    given = read_environment(os.environ)
    if given or _on_tpu():
        jax.distributed.initialize(**given, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
        signals.install(forward=jax.process_count() > 1)  # the runtime has replaced the handler
    try:
        jax.devices()
    except RuntimeError as error:
        raise ValueError(
            f"jax finds no device (JAX_PLATFORMS is {os.environ.get('JAX_PLATFORMS', '')!r}): "
            f"{str(error).splitlines()[0]}; install jax for these devices, or unset the variable"
        ) from None
    if jax.process_count() > 1:
        _connect_devices()
        _start_watchdog()


def _configure_process() -> None:
    """Keeps compiled programs between runs, and libraries' notes out of the progress.

    Garbage is looked for less often: tracing makes millions of objects, and few in cycles.
    Programs are kept in JAX_COMPILATION_CACHE_DIR, by default in ~/.cache/mmcot_jax/xla.
    """
    gc.set_threshold(10_000, 10, 10)
    # jax keeps what compiles for a second or more; the small ones of a start are 50, seconds in all
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = pathlib.Path.home() / ".cache" / "mmcot_jax" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    logging.getLogger("grain").setLevel(logging.ERROR)
    for name in ("absl", "orbax"):  # they print the traceback of an error that they raise as well
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _connect_devices() -> None:
    """Runs a collective over all devices while the processes are at the same point.

    In the first collective a CPU waits only 30 s for the last device, however long that compiles.
    """
    multihost_utils.process_allgather(np.zeros(1, np.uint8))
    sharding = jax.sharding.NamedSharding(
        jax.make_mesh((jax.device_count(),), ("all",), axis_types=(jax.sharding.AxisType.Auto,)),
        jax.P("all"),
    )
    ones = jax.make_array_from_callback(
        (jax.device_count(),), sharding, lambda _: np.ones(1, np.float32)
    )
    jax.block_until_ready(jax.jit(jnp.sum)(ones))


def _on_tpu() -> bool:
    # `import jax` sets the variable if libtpu and chips are found
    platforms = jax.config.jax_platforms or ""
    return "TPU_ML_PLATFORM" in os.environ and "tpu" in platforms.split(",")


_watchdog: subprocess.Popen | None = None


def _start_watchdog() -> None:
    """Starts a shell that prints an error line if this process dies without printing one.

    If another process is lost, jax's runtime aborts this one from native code.
    """
    global _watchdog
    line = (
        f"error: process {jax.process_index()} of {jax.process_count()} was ended from outside, or "
        f"another one was, or was silent for {HEARTBEAT_SECONDS} s: the output of the others shows "
        "which was first; the same command resumes from the last checkpoint"
    )
    script = 'trap "" TERM INT; read -r dismissed || echo "$0" >&2'  # it outlives a group's signal
    _watchdog = subprocess.Popen(["sh", "-c", script, line], stdin=subprocess.PIPE)
    atexit.register(_dismiss_watchdog)


def _dismiss_watchdog() -> None:
    """Ends the watchdog silently: this process has printed all there is to print."""
    if _watchdog and _watchdog.stdin and not _watchdog.stdin.closed:
        _watchdog.stdin.write(b"yes\n")
        _watchdog.stdin.close()
        _watchdog.wait()


class Preempted(Exception):
    """A run stopped before its end; it is checkpointed and resumes with the same command."""


def never_preempted() -> bool:
    """A notice for runs that nothing interrupts."""
    return False


class PreemptionNotice:
    """True once any process of the run has received SIGTERM: its machine will be taken away.

    A context manager. Every process must call it at the same points; all of them get True at the
    same call. What is computed after a call counts as unsaved.
    """

    def __init__(self):
        self._calls = 0

    def __enter__(self) -> "PreemptionNotice":
        """Handles SIGTERM, unless the command does; with several processes jax has its handler."""
        main = threading.current_thread() is threading.main_thread()
        self._own = main and not (signals.is_handled() or _is_distributed())
        if self._own:
            signals.clear()
            self._before = signal.signal(signal.SIGTERM, signals.request_stop)
        return self

    def __exit__(self, *_: object) -> None:
        """Restores the previous handler."""
        if self._own:
            signal.signal(signal.SIGTERM, self._before)

    def __call__(self) -> bool:
        """Returns whether to save and stop now."""
        self._calls += 1  # the processes agree on one of these numbers, counted over all stages
        signals.set_unsaved(True)
        if _is_distributed():
            if multihost_utils.reached_preemption_sync_point(self._calls):
                signals.request_stop()
        return signals.is_stop_requested()


def is_main_process() -> bool:
    """True in the process that prints, and writes what is written once."""
    return jax.process_index() == 0


def check_same_config(config: str) -> None:
    """Raises a `ValueError` on every process if one has another config, as text."""
    if jax.process_count() == 1:
        return
    checksums = multihost_utils.process_allgather(np.uint32(zlib.crc32(config.encode())))
    if others := np.flatnonzero(checksums != checksums[0]).tolist():
        raise ValueError(
            f"process {others[0]} of {len(checksums)} was given another config than process 0: "
            "start all with the same command"
        )


def run_and_exit(main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> NoReturn:
    """Runs a command and exits with its status.

    One of several processes that fails exits without jax's shutdown, which would wait for the
    others while they wait for it.
    """
    try:
        status = main(argv)
    except BaseException:
        if not _is_distributed():
            raise
        traceback.print_exc()
        status = 1
    finally:
        signals.ignore()
    if status and _is_distributed():
        sys.stdout.flush()
        sys.stderr.flush()
        if status != 1:
            _dismiss_watchdog()
        if is_main_process():
            time.sleep(GRACE_SECONDS)  # its exit cuts the others' connections, even mid-line
        os._exit(status)
    if trackers.hangs():  # wandb without a network took 80 s here
        if _is_distributed():
            jax.distributed.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _is_distributed() -> bool:
    return jax.distributed.is_initialized() and jax.process_count() > 1
