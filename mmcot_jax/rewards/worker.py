"""The program of a worker process: imports its rewards once, then scores rows until it is killed.

It runs in a session of its own, apart from the run: no signal to the run's process group reaches
it, and it ignores those that a job manager sends to every process. It dies with the run.

Parent and worker exchange frames, a length and bytes, over a socket. A job is a pickle, for it
holds arrays; what comes back is JSON, for it was made by a user's code. Frames of a worker:

    ["ready"] | ["failed", message]             after its start
    ["scored", call, values, faults, metrics, extra, parts]
        faults: [row of the call, kind, message]; parts: [row, [start, end, value] of each]
    ["raised", call, message]                   a TRL reward raised; call is its index in the job
    ["chat", bool]                              of a `Job` with `probe`
    ["unread", message]                         the job cannot be read
"""

import asyncio
import contextlib
import fcntl
import functools
import inspect
import io
import json
import math
import numbers
import os
import pathlib
import pickle
import select
import signal
import socket
import struct
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax import modules
from mmcot_jax.errors import is_input_error
from mmcot_jax.example import Example, Reply
from mmcot_jax.rewards import Reward, resolve, trl

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that job managers send to all processes of a run."""
LARGEST = 1e15
"""Squares of larger rewards, summed over a batch, overflow float32: no standard deviation."""
LONGEST_MESSAGE = 500
LARGEST_FRAME = 2**32
_LIBRARIES = ("<frozen", *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")))


class Job(NamedTuple):
    """Calls of one reward, each of one row or more."""

    name: str
    calls: list[list[tuple[Example, Reply, np.ndarray]]]
    """A row is a question, a reply and the reply's token ids."""
    state: trl.TrainerState
    chat: bool = False
    probe: bool = False
    """True: only find out whether the reward wants messages."""


def main() -> None:
    """Serves the parent: `sys.argv` is the socket, the lifeline and the rewards' names."""
    _, socket_fd, lifeline, files, *names = sys.argv
    del sys.argv[1:]  # a reward that parses its command line finds no flag
    die_with_parent(int(lifeline))
    with contextlib.suppress(OSError):  # if memory is short, the kernel ends a worker, not the run
        pathlib.Path("/proc/self/oom_score_adj").write_text("1000")
    for number in SIGNALS:
        signal.signal(number, _ignore)  # unlike SIG_IGN not inherited by what a reward starts
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    connection = socket.socket(fileno=int(socket_fd))
    connection.set_inheritable(False)
    loop, files = _Loop(), json.loads(files)
    try:
        for name in names:
            resolve(name)
        frame = ["ready"]
    except BaseException as error:
        ours = isinstance(error, ValueError) and is_input_error(error)
        frame = ["failed", f"in a worker {error if ours else describe(error)}"]
    with contextlib.suppress(OSError, EOFError):  # the run has ended, or a reward closed the socket
        send(connection, _encode(frame))
        _serve(connection, files, loop)
    os._exit(1)


def _serve(connection: socket.socket, files: Mapping[str, str], loop: "_Loop") -> None:
    pid = os.getpid()
    while True:
        data = receive(connection)
        try:
            frames = _frames(_Unpickler(io.BytesIO(data), files).load(), loop)
        except BaseException as error:
            frames = [["unread", f"its rows cannot be read by a worker: {describe(error)}"]]
        for frame in frames:
            if os.getpid() != pid:  # the reward forked, and this is the child
                os._exit(0)
            send(connection, _encode(frame))


def die_with_parent(lifeline: int) -> None:
    """Kills this process and its children when the other end of a pipe is closed.

    Linux sends SIGKILL itself, also while a regular expression holds the interpreter.
    """
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
        if select.select([lifeline], [], [], 0)[0]:
            os._exit(0)
        return

    def wait() -> None:
        os.read(lifeline, 1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def send(connection: socket.socket, data: bytes) -> None:
    """Sends a frame."""
    connection.sendall(struct.pack("!Q", len(data)))
    connection.sendall(data)


def receive(connection: socket.socket, timeout_s: float | None = None) -> bytes:
    """Receives a frame.

    Raises:
        EOFError: the other side is gone, or sends something else.
        TimeoutError: it is not there in time.
    """
    until = None if timeout_s is None else time.monotonic() + timeout_s

    def read(count: int) -> bytes:
        parts = []
        while count:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            try:
                part = connection.recv(min(count, 2**20))
            except TimeoutError:
                raise
            except OSError:
                raise EOFError from None
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    (length,) = struct.unpack("!Q", read(8))
    if length > LARGEST_FRAME:
        raise EOFError
    return read(length)


def describe(error: BaseException) -> str:
    """Returns an exception as one line: its class, its message and the user's line of it."""
    try:
        said = " ".join(str(error).split())
    except BaseException:
        said = "(without a message)"
    if len(said) > LONGEST_MESSAGE:
        said = f"{said[:LONGEST_MESSAGE]}..."
    frames = traceback.extract_tb(error.__traceback__)
    package = str(pathlib.Path(__file__).parent)
    others = [f for f in frames if not f.filename.startswith(package)]
    own = [f for f in others if not f.filename.startswith(_LIBRARIES)] or others
    where = f" ({pathlib.Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    if isinstance(error, _Exit):
        return said
    if isinstance(error, SystemExit):
        return f"SystemExit({said}): a reward returns, it does not exit{where}"
    return f"{type(error).__name__}: {said}{where}"


def _ignore(*_: Any) -> None:
    pass


class _Loop:
    """One event loop, in the main thread, for all calls of all async rewards of a worker."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()

    def run(self, value: Awaitable[Any]) -> Any:
        """Runs an awaitable to its end."""
        return self._open().run_until_complete(_wait(value))

    def run_all(
        self, calls: Sequence[Callable[[Callable[[Awaitable[Any]], Any]], Any]]
    ) -> Iterator[tuple[int, Any]]:
        """Makes calls at once and yields their numbers and values as they end.

        Each call is made in a thread and gets a function that runs an awaitable in the loop.
        """
        loop = self._open()

        def run(value: Awaitable[Any]) -> Any:
            return asyncio.run_coroutine_threadsafe(_wait(value), loop).result()

        with ThreadPoolExecutor(len(calls)) as threads:
            running = {loop.run_in_executor(threads, call, run): i for i, call in enumerate(calls)}
            while running:
                try:
                    first = asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    ended, _ = loop.run_until_complete(first)
                except (SystemExit, KeyboardInterrupt):  # raised again by what waits for it
                    continue
                for future in ended:
                    yield running.pop(future), future.result()

    def _open(self) -> asyncio.AbstractEventLoop:
        if self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
        return self._loop


async def _wait(value: Awaitable[Any]) -> Any:
    try:
        return await value
    except (SystemExit, KeyboardInterrupt) as error:  # these would end the loop
        raise _Exit(describe(error)) from None


class _Exit(Exception):
    """An async reward called `sys.exit`."""


class _Unpickler(pickle.Unpickler):
    """Reads objects of a user's files, such as those in the `extra` of a task's examples.

    `files` are the parent's modules that were loaded from a file.
    """

    def __init__(self, stream: io.BytesIO, files: Mapping[str, str]):
        super().__init__(stream)
        self._files = files

    def find_class(self, module: str, name: str) -> Any:
        if module in self._files and module not in sys.modules:
            file = pathlib.Path(self._files[module])
            path = file.parent if file.name == "__init__.py" else file
            modules.load_file(path, "a file of the run")
        return super().find_class(module, name)


def _frames(job: Job, loop: _Loop) -> Iterator[list[Any]]:
    """Yields what a worker says about a job."""
    reward = resolve(job.name)
    if not reward.trl:
        for i, ((example, reply, _),) in enumerate(job.calls):
            yield ["scored", i, *_score(reward, example, reply, loop)]
        return
    batches = [_samples(job, rows) for rows in job.calls]
    if job.probe:
        yield ["chat", trl.wants_messages(reward, batches[0], loop.run)]
    elif len(batches) == 1:
        kind, *content = _call(reward, batches[0], job.chat, loop.run)
        yield [kind, 0, *content]
    else:
        calls = [functools.partial(_call, reward, samples, job.chat) for samples in batches]
        for i, (kind, *content) in loop.run_all(calls):
            yield [kind, i, *content]


def _samples(job: Job, rows: Sequence[tuple[Example, Reply, np.ndarray]]) -> trl.Samples:
    examples, replies, ids = (list(column) for column in zip(*rows, strict=True))
    return trl.Samples(examples, replies, [x.tolist() for x in ids], job.state)


def _call(
    reward: Reward, samples: trl.Samples, chat: bool, run: Callable[[Awaitable[Any]], Any]
) -> list[Any]:
    """Calls a TRL reward; returns its frame without the number of the call."""
    try:
        called = trl.call(reward, samples, chat=chat, run=run)
        extra = {name: [plain(v) for v in column] for name, column in called.extra.items()}
        values, faults, found = _checked(called.values)
        return ["scored", values, faults, called.metrics, extra, found]
    except BaseException as error:
        return ["raised", describe(error)]


def _score(reward: Reward, example: Example, reply: Reply, loop: _Loop) -> list[Any]:
    """Calls a reward (example, reply); returns its frame without the number of the call."""
    try:
        value = reward.function(example, reply)
        if inspect.isawaitable(value):
            value = loop.run(value)
        values, faults, found = _checked([value])
    except BaseException as error:
        values, faults, found = [math.nan], [[0, "raised", describe(error)]], []
    return [values, faults, {}, {}, found]


def _checked(values: Sequence[Any]) -> tuple[list[float], list[list[Any]], list[list[Any]]]:
    """Returns rewards as floats, the faults and the parts of their rows, as a frame has them."""
    found = [parts(value) for value in values]
    # rounded: seven sevenths are 1, which is right
    totals = [
        value if each is None else round(math.fsum(v for *_, v in each), 12)
        for value, each in zip(values, found, strict=True)
    ]
    checked = [number(value) for value in totals]
    faults = [[i, *fault] for i, (_, fault) in enumerate(checked) if fault]
    return (
        [value for value, _ in checked],
        faults,
        [[i, each] for i, each in enumerate(found) if each is not None],
    )


def parts(value: Any) -> list[tuple[int, int, float]] | None:
    """Returns the parts, (start, end, value), that a reward returned; None if it did not."""
    if not isinstance(value, list | tuple):
        return None
    found = []
    for each in value:
        if not isinstance(each, list | tuple) or len(each) != 3:
            return None
        *span, worth = each
        if any(isinstance(x, bool) or not isinstance(x, numbers.Integral) for x in span):
            return None
        (start, end), (worth, fault) = map(int, span), number(worth)
        if fault or math.isnan(worth) or not 0 <= start <= end:
            return None
        found.append((start, end, worth))
    return found


def number(value: Any) -> tuple[float, tuple[str, str] | None]:
    """Returns a reward as a float, NaN for None, or NaN with the kind of failure and a message."""
    if value is None:
        return math.nan, None
    try:
        if hasattr(value, "item") and not isinstance(value, np.generic):
            value = value.item()  # an array or tensor with one element
        if isinstance(value, str | bytes | bytearray | np.complexfloating) or not (
            isinstance(value, numbers.Real | np.bool_) or hasattr(type(value), "__float__")
        ):
            hint = "; call it in a file of yours, and name what it returns" * callable(value)
            if isinstance(value, list | tuple):
                hint = "; return a number, or parts (start, end, value) with 0 <= start <= end"
            return math.nan, ("type", f"it returned {_shown(value)}{hint}")
        found = float(value)
    except BaseException as error:
        said = f"it returned {_shown(value)}, which is no number ({describe(error)})"
        return math.nan, ("type", said)
    if not math.isfinite(found):
        return math.nan, ("nan", f"it returned {found}")
    if abs(found) > LARGEST:
        said = f"it returned {found:g}; rewards are compared in float32, stay within {LARGEST:g}"
        return math.nan, ("type", said)
    return found, None


def plain(value: Any) -> Any:
    """Returns an entry of a logged column as JSON can hold it; else its class and its repr."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return plain(value.item())
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except Exception:
        return _shown(value)


def _shown(value: Any) -> str:
    kind = type(value).__name__
    try:
        text = repr(value)
    except BaseException:
        text = "without a repr"
    return f"a {kind}, {text if len(text) <= 60 else f'{text[:60]}...'}"


def _encode(frame: Sequence[Any]) -> bytes:
    # half of a surrogate pair, which UTF-8 cannot hold, becomes "?"
    return json.dumps(frame, ensure_ascii=False).encode("utf-8", "replace")
