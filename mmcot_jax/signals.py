"""SIGTERM, Ctrl-C and a closed terminal: a command saves what it has and prints one line.

`handle` is for commands: a program that imports the package, such as a notebook, keeps its own
handlers. The handling is a thread, which also runs while the main thread compiles for minutes.
"""

import contextlib
import multiprocessing
import multiprocessing.util
import os
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, NoReturn

NOTICE_SECONDS = 5.0
"""A step that goes on for so long after the signal is announced by a line."""
SECOND_SECONDS = 1.0
"""A second Ctrl-C ends the command at once. An earlier one is the first one's copy: `timeout` sends
a signal to its child, then to the whole group."""
STARTING_SECONDS = 5.0
"""A command that ends waits for so long at most until workers being started have started."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_requested = threading.Event()
_unsaved = threading.Event()
_ending = threading.Lock()
"""Held from the first line of `end` until the process is gone."""
_starting = threading.Lock()
"""Held while worker processes are started."""
_cleanups: list[Callable[[], object]] = []


class _Command(NamedTuple):
    """How a command ends at a signal while there is nothing to save."""

    line: str
    status: int


_command: _Command | None = None
_forwards = False


def handle(line: str, status: int) -> None:
    """Handles signals from now on; called once, by a command's main thread.

    SIGINT and SIGHUP stay ignored where they are, as under `nohup`.

    While nothing is unsaved, the first signal prints `line`, kills the worker processes and exits
    with `status` at once. Otherwise it makes `is_stop_requested` true. Ctrl-C twice always exits,
    with status 130.
    """
    global _command
    if _command is not None:
        return
    _command = _Command(line, status)
    receive, send = socket.socketpair()
    send.setblocking(False)
    signal.set_wakeup_fd(send.fileno(), warn_on_full_buffer=False)
    install()
    threading.Thread(target=_watch, args=(receive, send), name="signals", daemon=True).start()


def is_handled() -> bool:
    """Returns whether `handle` was called."""
    return _command is not None


def is_stop_requested() -> bool:
    """Returns whether the command should save and stop."""
    return _requested.is_set()


def request_stop(*_: object) -> None:
    """Makes `is_stop_requested` true; also a signal handler."""
    _requested.set()


def clear() -> None:
    """Forgets a request to stop: a program may run several commands."""
    _requested.clear()
    _unsaved.clear()


def set_unsaved(unsaved: bool) -> None:
    """Sets whether an exit at once would lose work that could be saved."""
    (_unsaved.set if unsaved else _unsaved.clear)()
    if not unsaved and _command is not None and is_stop_requested() and not _forwards:
        end(_command.line, _command.status)


def install(forward: bool = False) -> None:
    """Installs the handlers of a command that handles signals, again if others replaced them.

    With `forward`, SIGTERM is left to jax's runtime, which informs all processes of a run, and
    Ctrl-C becomes a SIGTERM.
    """
    global _forwards
    _forwards = forward
    for number in _SIGNALS if is_handled() else ():
        keeps = forward if number == signal.SIGTERM else signal.getsignal(number) == signal.SIG_IGN
        if not keeps:
            signal.signal(number, lambda *_: None)  # the interpreter has written it to the socket


def ignore() -> None:
    """Ignores SIGTERM from now on: the command has done its work and is about to exit."""
    if _command is not None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def at_exit(cleanup: Callable[[], object]) -> Iterator[None]:
    """Calls `cleanup` at the end of the block, or when a signal ends the process in it."""
    _cleanups.append(cleanup)
    try:
        yield
    finally:
        _cleanups.remove(cleanup)
        cleanup()


def _watch(receive: socket.socket, send: socket.socket) -> None:
    """Acts on the signals; `send` is kept open."""
    first = None
    while data := receive.recv(1):
        now, number = time.monotonic(), data[0]
        if number not in _SIGNALS:
            continue
        if number == signal.SIGHUP:
            _leave_terminal()
        if first is None:
            first = now
            if _forwards:  # SIGTERM itself does not come here
                os.kill(os.getpid(), signal.SIGTERM)
            elif _unsaved.is_set():
                _requested.set()
                threading.Thread(target=_announce, args=(number,), daemon=True).start()
            else:
                end(_command.line, _command.status)
        elif number == signal.SIGINT and now - first > SECOND_SECONDS:
            end("interrupted twice: ended at once; the same command resumes", 130)


def _leave_terminal() -> None:
    """Sends output that went to a terminal to nowhere: writing to a closed one is an error."""
    with contextlib.suppress(OSError):  # a closed output needs nothing
        null = os.open(os.devnull, os.O_WRONLY)
        for output in (1, 2):
            if stat.S_ISCHR(os.fstat(output).st_mode):
                os.dup2(null, output)


def _announce(number: int) -> None:
    time.sleep(NOTICE_SECONDS)
    if _unsaved.is_set():
        name = signal.Signals(number).name
        print(f"{name}: the run saves and ends after its current step", file=sys.stderr)


def end(line: str, status: int) -> NoReturn:
    """Exits without unwinding: no other thread prints or waits."""
    _ending.acquire()  # the first one ends the process
    for cleanup in reversed(_cleanups):
        with contextlib.suppress(OSError):
            cleanup()
    # a worker that has just begun would report that the semaphores are gone, or its parent
    _starting.acquire(timeout=STARTING_SECONDS)
    workers = multiprocessing.active_children()
    for worker in workers:
        with contextlib.suppress(OSError):
            os.kill(worker.pid, signal.SIGSTOP)
    # semaphores of process pools: their tracker warns of those that are left
    multiprocessing.util._run_finalizers(0)
    show_cursor = "\n\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar may have hidden it
    os.write(2, f"{show_cursor}{line}\n".encode())
    for worker in workers:
        worker.kill()
    os._exit(status)


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Blocks the signals in worker processes that the block starts, until `initialize_worker`.

    A pool is made in such a block too: its resource tracker ends at SIGHUP otherwise.
    Signals to this process are not lost: they are handled by another thread, or after the block.
    A command does not end within the block, so that none of the workers is left behind. Once it is
    ending, no block begins.
    """
    with _ending:  # never free again when the command ends
        pass
    with _starting:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def initialize_worker() -> None:
    """Makes a worker process leave signals to its parent, and end when the parent is gone.

    A signal to the whole group reaches both, and the parent may still need its workers.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
