"""A lock on a folder: one command at a time writes into it.

The lock is a file, `lock.json`, that says who holds it. The disk may be shared by machines on which
`flock` reaches nobody else (gcsfuse), so the holder renews the file and the others watch it.
"""

import contextlib
import datetime
import json
import os
import pathlib
import shlex
import socket
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mmcot_jax import files, signals
from mmcot_jax.errors import STATUS

FILE = "lock.json"
RENEW_SECONDS = 10.0
"""Time between two renewals of the file."""
STALE_SECONDS = 120.0
"""A lock of another machine that is not renewed for so long is taken: its holder is dead.
gcsfuse shows a change after up to 60 s."""
PATIENCE_SECONDS = 600.0
"""How long a command waits for a holder that saves after a SIGTERM."""
POLL_SECONDS = 1.0


class Holder(NamedTuple):
    """Who holds a lock: the content of its file."""

    token: str
    host: str
    machine: str
    """Boot and process namespace: within one, a process is known by `pid` and `started`."""
    pid: int
    started: str
    since: str
    command: str
    renewals: int = 0
    ending: bool = False
    """True if it received a SIGTERM: it saves and ends."""


@contextlib.contextmanager
def hold(
    folder: str | pathlib.Path, ending: Callable[[], bool] = signals.is_stop_requested
) -> Iterator[None]:
    """Holds the lock of a folder, which may be new; a folder that stays empty is removed again.

    A dead holder is no obstacle. For one that is `ending`, this waits.

    Raises:
        ValueError: another command holds it.
    """
    folder = pathlib.Path(folder)
    new = [f for f in (folder, *folder.parents) if not f.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    renewal = _Renewal(folder / FILE, _acquire(folder / FILE), ending)
    try:
        with signals.at_exit(renewal.stop):
            renewal.start()
            yield
    finally:
        with contextlib.suppress(OSError):  # it holds a file
            for made in new:
                made.rmdir()


def _acquire(path: pathlib.Path) -> Holder:
    """Waits for the lock and takes it.

    Raises:
        ValueError: another command holds it.
    """
    ours, announced = _ourselves(), ""
    seen, began = _read(path), time.monotonic()
    changed = began
    while not _create(path, ours):
        holder, now = _read(path), time.monotonic()
        renewed = holder is not None and holder != seen
        if renewed:
            seen, changed = holder, now
        alive = _is_alive(holder, ours)
        if alive is False or (alive is None and now - changed > STALE_SECONDS):
            _replace(path, ours)
            time.sleep(POLL_SECONDS / 4)  # of two that take it at once, the later one has it
            holder = _read(path)
            if holder is not None and holder.token == ours.token:
                break
            alive = True
        waits = holder is not None and holder.ending and now - began < PATIENCE_SECONDS
        if (alive or renewed) and not waits:
            raise ValueError(
                f"{path.parent} is in use by {_describe(holder)}: wait for it, stop it, or give "
                "another folder"
            )
        if holder is not None or now - began >= POLL_SECONDS:  # it may be just being written
            announced = _announce(path, holder, announced)
        time.sleep(POLL_SECONDS)
    return ours


def _describe(holder: Holder | None) -> str:
    if holder is None:
        return "a process unknown"
    return f"process {holder.pid} on {holder.host} since {holder.since} ({holder.command})"


def _announce(path: pathlib.Path, holder: Holder | None, announced: str) -> str:
    """Prints once why the command waits; returns the line."""
    if holder and holder.ending:
        line = f"waiting: {path.parent} is being saved by {_describe(holder)}"
    else:
        line = (
            f"waiting up to {STALE_SECONDS:.0f} s: {path.parent} is in use by {_describe(holder)}, "
            "if that is alive"
        )
    if line != announced:
        print(line, file=sys.stderr)
    return line


class _Renewal:
    """The thread that renews a held lock."""

    def __init__(self, path: pathlib.Path, ours: Holder, ending: Callable[[], bool]):
        self._path, self._ours, self._ending = path, ours, ending
        self._stopped = threading.Event()
        self._writing = threading.RLock()
        self._thread = threading.Thread(target=self._run, name="lock", daemon=True)

    def start(self) -> None:
        """Starts to renew the lock."""
        self._thread.start()

    def stop(self) -> None:
        """Releases the lock, if it is still ours."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._writing.acquire(timeout=POLL_SECONDS)  # a disk that hangs holds up no exit
        holder = _read(self._path)
        if holder is not None and holder.token == self._ours.token:
            self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        last, ours = time.monotonic(), self._ours
        while not self._stopped.wait(POLL_SECONDS):
            ending, now = self._ending(), time.monotonic()
            if ending == ours.ending and now - last < RENEW_SECONDS:
                continue
            last = now
            ours = ours._replace(ending=ending, renewals=ours.renewals + 1)
            with self._writing, contextlib.suppress(OSError):  # a full disk: tried again
                if self._stopped.is_set():
                    return
                holder = _read(self._path)
                if holder is not None and holder.token != ours.token:
                    self._end(holder)
                if self._path.parent.is_dir():
                    _replace(self._path, ours)

    def _end(self, holder: Holder) -> None:
        """Ends this process: two that write into one folder would mix their results."""
        signals.end(
            f"error: this process was silent for {STALE_SECONDS:.0f} s, and {self._path.parent} was"
            f" taken over by {_describe(holder)}",
            STATUS,
        )


def _ourselves() -> Holder:
    since = datetime.datetime.now(datetime.UTC).isoformat(sep=" ", timespec="seconds")
    return Holder(
        uuid.uuid4().hex,
        socket.gethostname(),
        _machine(),
        os.getpid(),
        _started(os.getpid()) or "",
        since,
        textwrap.shorten(shlex.join(sys.orig_argv), 160, placeholder=" ..."),
    )


def _machine() -> str:
    """Names the boot and the namespace of process ids, or the host where there is no /proc."""
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str | None:
    """Returns the time a process started, "" if that is unknown, or None if it is dead."""
    try:
        state, *rest = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else rest[18]
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return ""


def _is_alive(holder: Holder | None, ours: Holder) -> bool | None:
    """Returns whether a holder lives, or None if it cannot be known from here."""
    if holder is None or holder.machine != ours.machine:
        return None
    return _started(holder.pid) == holder.started


def _read(path: pathlib.Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _create(path: pathlib.Path, holder: Holder) -> bool:
    """Creates the file, unless it exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(_text(holder))
    return True


def _replace(path: pathlib.Path, holder: Holder) -> None:
    temporary = files.temporary_of(path)
    try:
        temporary.write_text(_text(holder))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _text(holder: Holder) -> str:
    return json.dumps(holder._asdict(), indent=2) + "\n"
