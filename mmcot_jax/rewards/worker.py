"""The program of a worker process: imports its rewards once, then scores rows until it is killed.

It runs in a session of its own, apart from the run: no signal to the run's process group reaches
it, and it ignores those that a job manager sends to every process. It dies with the run.

Parent and worker exchange frames, a length and bytes, over a socket. A job is a pickle, for it
holds arrays; what comes back is JSON, for it was made by a user's code. Frames of a worker:

    ["ready"] | ["failed", message]             after its start
    ["row", value, kind, message]               of a reward (example, reply), one for each row
    ["call", values, faults, metrics, extra]    of a TRL reward; faults: [row, kind, message] each
    ["raised", message]                         of a TRL reward, or a job that cannot be read
    ["chat", bool]                              of a `Job` with `probe`
"""

import asyncio
import fcntl
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
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmcot_jax import modules
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
    """Rows of one reward: scored one by one, or in one call of a TRL reward."""

    name: str
    rows: list[tuple[Example, Reply, np.ndarray]]
    """Question, reply and the reply's token ids."""
    step: int
    max_steps: int
    chat: bool = False
    probe: bool = False
    """True: only find out whether the reward wants messages."""


def main() -> None:
    """Serves the parent: `sys.argv` is the socket, the lifeline and the rewards' names."""
    _, socket_fd, lifeline, files, *names = sys.argv
    del sys.argv[1:]  # a reward that parses its command line finds no flag
    die_with_parent(int(lifeline))
    for number in SIGNALS:
        signal.signal(number, _ignore)  # unlike SIG_IGN not inherited by what a reward starts
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    connection = socket.socket(fileno=int(socket_fd))
    connection.set_inheritable(False)
    pid, loop, files = os.getpid(), _Loop(), json.loads(files)
    try:
        for name in names:
            resolve(name)
        frame = ["ready"]
    except BaseException as error:
        frame = ["failed", describe(error)]
    send(connection, _encode(frame))
    while True:
        data = receive(connection)
        try:
            job = _Unpickler(io.BytesIO(data), files).load()
        except BaseException as error:
            said = f"its rows cannot be read by a worker: {describe(error)}"
            send(connection, _encode(["raised", said]))
            continue
        for frame in _frames(job, loop):
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
    if isinstance(error, SystemExit):
        return f"SystemExit({said}): a reward returns, it does not exit{where}"
    return f"{type(error).__name__}: {said}{where}"


def _ignore(*_: Any) -> None:
    pass


class _Loop:
    """One event loop for all calls of all async rewards of a worker."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()

    def run(self, value: Awaitable[Any]) -> Any:
        if self._loop.is_closed():
            self._loop = asyncio.new_event_loop()

        async def wait() -> Any:
            return await value

        return self._loop.run_until_complete(wait())


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


def _frames(job: Job, loop: _Loop):
    """Yields what a worker says about a job."""
    reward = resolve(job.name)
    if not reward.trl:
        for example, reply, _ in job.rows:
            yield ["row", *_score(reward, example, reply, loop)]
        return
    examples, replies, ids = (list(column) for column in zip(*job.rows, strict=True))
    tokens = [row.tolist() for row in ids]
    samples = trl.Samples(examples, replies, tokens, job.step, job.max_steps)
    if job.probe:
        yield ["chat", trl.wants_messages(reward, samples, loop.run)]
        return
    try:
        called = trl.call(reward, samples, chat=job.chat, run=loop.run)
        checked = [number(value) for value in called.values]
        faults = [[i, *fault] for i, (_, fault) in enumerate(checked) if fault]
        values = [value for value, _ in checked]
        extra = {name: [plain(v) for v in column] for name, column in called.extra.items()}
        yield ["call", values, faults, called.metrics, extra]
    except BaseException as error:
        yield ["raised", describe(error)]


def _score(
    reward: Reward, example: Example, reply: Reply, loop: _Loop
) -> tuple[float, str | None, str]:
    """Returns a row's reward, or NaN with the kind of failure and a message."""
    try:
        value = reward.function(example, reply)
        if inspect.isawaitable(value):
            value = loop.run(value)
        value, fault = number(value)
    except BaseException as error:
        value, fault = math.nan, ("raised", describe(error))
    return value, *(fault or (None, ""))


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
