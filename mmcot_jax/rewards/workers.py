"""Worker processes that score the rows of rewards, and the threads that watch over them.

Each thread has one process. It starts it, sends it rows, waits no longer than the rewards' time
limit, and replaces it when it hangs or dies.
"""

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmcot_jax.rewards import worker
from mmcot_jax.rewards.task import Calls, Task

START_TIMEOUT_S = 900.0
"""Time for a worker to import its rewards, which may load models."""
PROBE_TIMEOUT_S = 60.0
"""Least time for the call that finds out whether a TRL reward wants messages."""
MAX_IDLE_DEATHS = 3
"""Workers that may end in succession before they have scored anything."""
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from mmcot_jax.rewards import worker; worker.main()"
)
_FROM_OUTSIDE = tuple(-number for number in (signal.SIGKILL, *worker.SIGNALS))
"""Statuses of a process that something else ended, such as the kernel when memory is short."""


class StartError(Exception):
    """A worker cannot import its rewards."""


class Process:
    """A worker process, which begins to import its rewards.

    Raises:
        OSError: there are no more processes, files or memory.
    """

    def __init__(self, names: Sequence[str]):
        self._connection, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        self._killed = False
        files = {
            name: module.__file__
            for name, module in list(sys.modules.items())
            if name.startswith("_mmcot_") and getattr(module, "__file__", None)
        }
        paths = [path or os.getcwd() for path in sys.path]
        arguments = [json.dumps(paths), str(theirs.fileno()), str(lifeline), json.dumps(files)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-c", _PROGRAM, *arguments, *names],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), lifeline),
                start_new_session=True,
            )
        except OSError:
            os.close(self._lifeline)
            self._connection.close()
            raise
        finally:
            theirs.close()
            os.close(lifeline)

    def wait_until_ready(self) -> None:
        """Waits for the imports of the rewards.

        Raises:
            StartError: they failed, or took longer than `START_TIMEOUT_S`.
        """
        try:
            frame = self.receive(START_TIMEOUT_S)
            failed = None if frame == ["ready"] else str(frame[-1])
        except TimeoutError:
            failed = f"its module was not imported within {START_TIMEOUT_S:g} s"
        except EOFError:
            failed = f"its process {ending(self.kill(grace_s=1.0))} while it imported its module"
        if failed:
            self.kill()
            raise StartError(failed)

    def alive(self) -> bool:
        """Returns False if the process has ended."""
        self._connection.settimeout(0)
        try:
            return bool(self._connection.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def send(self, job: bytes, timeout_s: float) -> None:
        """Sends a pickled `worker.Job`.

        Raises:
            EOFError: the process is gone.
            TimeoutError: it does not read.
        """
        self._connection.settimeout(timeout_s)
        try:
            worker.send(self._connection, job)
        except TimeoutError:
            raise
        except OSError:
            raise EOFError from None

    def receive(self, timeout_s: float) -> list[Any]:
        """Receives a frame.

        Raises:
            EOFError: the process is gone, or sends something unreadable.
            TimeoutError: nothing came in time.
        """
        try:
            return list(json.loads(worker.receive(self._connection, timeout_s)))
        except (ValueError, TypeError):
            raise EOFError from None

    def stop(self) -> None:
        """Kills the process and all that it started; its thread notices and does the rest."""
        if self._process.returncode is None:
            self._kill_group()

    def kill(self, grace_s: float = 0.0) -> int | None:
        """Kills the process and all that it started.

        Returns its status if it ended by itself within `grace_s`.
        """
        if self._killed:
            return None
        self._killed, status = True, None
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self._process.wait(grace_s) if grace_s else None
        self._kill_group()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._connection.close()
        os.close(self._lifeline)
        return status

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


class Chunk(NamedTuple):
    """Calls of a task that are sent to a worker together."""

    task: Task
    calls: Calls
    probe: bool = False
    """True: the first call of a TRL reward, which finds out whether it wants messages."""
    retried: bool = False
    """True: its worker was killed from outside before."""


class Workers:
    """The workers of the rewards of one module, and the rows that wait for them.

    `timeout_s` is the limit for a sample: a call may take as many as it has samples.
    """

    def __init__(self, names: Sequence[str], processes: int, timeout_s: float):
        self._names, self._timeout, self._size = names, timeout_s, processes
        self._condition = threading.Condition()
        self._waiting: deque[Chunk] = deque()
        self._chat: dict[str, bool] = {}
        self._processes: dict[int, Process] = {}
        self._closed, self._batch, self._down = False, 0, 0
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), daemon=True)
            for number in range(processes)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task, chat: bool | None) -> None:
        """Queues the rows of a task; `chat` None: a probe finds out whether it wants messages."""
        if task.future.done():  # it has no rows
            return
        with self._condition:
            self._batch += 1
            if chat is not None:
                self._chat[task.reward.name] = chat
            if task.reward.trl and task.reward.name not in self._chat:
                self._waiting.append(Chunk(task, ((0,),), probe=True))
                self._condition.notify_all()
                return
        self._begin(task)

    def close(self) -> None:
        """Kills the workers, whatever they are doing; rows that are not scored have failed."""
        with self._condition:
            self._closed = True
            for process in self._processes.values():
                process.stop()
            self._condition.notify_all()
        for thread in self._threads:
            thread.join(10)
        for chunk in self._waiting:
            chunk.task.abandon("died", "the workers were stopped")

    def _begin(self, task: Task) -> None:
        with self._condition:
            self._waiting.extend(Chunk(task, calls) for calls in task.parts(self._size))
            self._condition.notify_all()

    def _serve(self, number: int) -> None:
        # a process inherits the signals that its thread blocks, so none ends it as it starts
        signal.pthread_sigmask(signal.SIG_BLOCK, worker.SIGNALS)
        process, deaths = None, 0
        while not self._closed:
            failed = None
            if process is None:
                process, failed = self._start(number)
            chunk = self._take()
            if chunk is None:
                break
            if failed:
                self._refuse(chunk, failed)
            elif process.alive() or deaths == MAX_IDLE_DEATHS:
                process, deaths = self._run(process, chunk), 0
            else:  # it was killed while it had nothing to do, so nothing is lost
                process.kill()
                process, deaths = None, deaths + 1
                self._put_back(chunk)
        if process:
            process.kill()

    def _start(self, number: int) -> tuple[Process | None, str | None]:
        try:
            process = Process(self._names)
            with self._condition:
                self._processes[number] = process
                if self._closed:
                    process.stop()
            process.wait_until_ready()
            return process, None
        except StartError as error:
            return None, str(error)
        except OSError as error:
            return None, f"its process cannot be started: {error}"

    def _take(self) -> Chunk | None:
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._closed)
            return None if self._closed else self._waiting.popleft()

    def _put_back(self, chunk: Chunk) -> None:
        with self._condition:
            self._waiting.appendleft(chunk)
            self._condition.notify_all()

    def _refuse(self, chunk: Chunk, failed: str) -> None:
        """Leaves rows to the other workers; the last that cannot start fails all of them.

        Returns when there is another batch, for which a start is tried again.
        """
        with self._condition:
            batch = self._batch
            self._down += 1
            self._waiting.appendleft(chunk)
            if self._down == self._size:
                for waiting in self._waiting:
                    waiting.task.abandon("raised", failed)
                self._waiting.clear()
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._batch != batch or self._closed)
            self._down -= 1

    def _run(self, process: Process, chunk: Chunk) -> Process | None:
        """Sends calls to a process and takes their rewards; returns None if it was lost."""
        task, left = chunk.task, dict(enumerate(chunk.calls))
        if why := task.given_up():
            self._fail(chunk, left, "given up", why)
            return process
        job = task.job(chunk.calls, self._chat.get(task.reward.name, False), chunk.probe)
        limit = self._timeout * max(map(len, chunk.calls))
        if chunk.probe:  # the first call may load a model
            limit = max(limit, PROBE_TIMEOUT_S)
        try:
            data = encode(job)
        except Exception as error:
            said = f"its rows cannot be sent to a worker: {worker.describe(error)}"
            self._fail(chunk, left, "raised", said)
            return process
        try:
            process.send(data, limit)
            while left:
                self._take_frame(process.receive(limit), chunk, left)
            return process
        except TimeoutError:
            process.kill()
            said = f"no value within reward_timeout, {self._timeout:g} s"
            rows = max(map(len, chunk.calls))
            self._lose(chunk, left, "timeout", said + f" for each of {rows} samples" * (rows > 1))
        except EOFError:
            status = process.kill(grace_s=1.0)
            if status in _FROM_OUTSIDE and not chunk.retried and not self._closed:
                self._put_back(chunk._replace(calls=tuple(left.values()), retried=True))
            else:
                self._lose(chunk, left, "died", f"its process {ending(status)}")
        return None

    def _take_frame(self, frame: list[Any], chunk: Chunk, left: dict[int, tuple[int, ...]]) -> None:
        """Takes one message of a worker; drops the calls that it settles from `left`."""
        task = chunk.task
        try:
            kind, *content = frame
            if kind == "scored":
                call, *scores = content
                task.score(left[call], *scores)
                del left[call]
            elif kind == "raised":
                call, message = content
                task.fail(left[call], "raised", str(message))
                del left[call]
            elif kind == "chat":
                self._chat[task.reward.name] = bool(content[0])
                left.clear()
                self._begin(task)
            else:
                self._fail(chunk, left, "raised", str(content[0]))
                left.clear()
        except (TypeError, ValueError, LookupError, AttributeError):
            raise EOFError from None  # a reward wrote into the socket

    def _fail(
        self, chunk: Chunk, left: Mapping[int, tuple[int, ...]], kind: str, message: str
    ) -> None:
        if chunk.probe:
            self._begin(chunk.task)
        else:
            chunk.task.fail(sum(left.values(), ()), kind, message)

    def _lose(
        self, chunk: Chunk, left: Mapping[int, tuple[int, ...]], kind: str, message: str
    ) -> None:
        """Fails the calls that a process was lost with; those not begun wait again."""
        if chunk.probe:  # this batch gets strings, and the next is probed again
            self._begin(chunk.task)
            return
        calls = list(left.values())
        begun = len(calls) if chunk.task.reward.trl else 1
        chunk.task.fail(sum(calls[:begun], ()), kind, message, lost=True)
        if rest := tuple(calls[begun:]):
            with self._condition:
                self._waiting.append(Chunk(chunk.task, rest))
                self._condition.notify_all()


def encode(job: worker.Job) -> bytes:
    """Returns a job as it is sent."""
    return pickle.dumps(job)


def ending(status: int | None) -> str:
    """Describes a process's status, as the end of "its process ..."."""
    if status is None:
        return "closed its connection"
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
