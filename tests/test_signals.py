"""SIGTERM and Ctrl-C to a command, and to its whole group."""

import os
import pathlib
import pty
import signal
import subprocess
import sys
import time

import pytest

DEFAULT_SIGNALS = """
import signal
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, {signal.SIGINT: signal.default_int_handler}.get(number, signal.SIG_DFL))
signal.pthread_sigmask(signal.SIG_SETMASK, ())
"""
"""Sets them whatever the program's parent ignores, as `nohup` does, or blocks."""

COMMAND = """
import os, pathlib, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from mmcot_jax import signals

def slow(folder):
    pathlib.Path(folder, f"worker{os.getpid()}").touch()
    time.sleep(60)

def work(kind, folder):
    signals.handle("nothing to save", status=0)
    with signals.at_exit(lambda: pathlib.Path(folder, "cleaned").touch()):
        if kind == "workers":
            how = {"mp_context": get_context("spawn"), "initializer": signals.initialize_worker}
            with signals.blocked():
                pool = ProcessPoolExecutor(2, **how)
            with pool:
                with signals.blocked():
                    made = pool.map(slow, [folder] * 2)
                list(made)
        signals.set_unsaved(kind in ("unsaved", "busy"))
        pathlib.Path(folder, "ready").touch()
        while kind == "busy" or not signals.is_stop_requested():
            time.sleep(0.02)
        signals.ignore()
        print("saved")

if __name__ == "__main__":
    work(*sys.argv[1:])
"""

WITH_DEFAULTS = COMMAND.replace('"__main__":', f'"__main__":\n    exec({DEFAULT_SIGNALS!r})')


@pytest.fixture(scope="session")
def delivers_hangup():
    """Skips where the kernel or a supervisor keeps SIGHUP from any process."""
    code = f"{DEFAULT_SIGNALS}\nimport time\nprint(flush=True)\ntime.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    try:
        status = process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        status = None
    process.stdout.close()
    if status != -signal.SIGHUP:
        pytest.skip(f"SIGHUP does not end a process here: {status}")


every_signal = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])


def needs(number, request):
    if number == signal.SIGHUP:
        request.getfixturevalue("delivers_hangup")


def begun(tmp_path, kind, ready):
    """The command in a group of its own, once so many files of a name are there."""
    (tmp_path / "command.py").write_text(WITH_DEFAULTS)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "command.py", kind, tmp_path],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    name, count = ready
    while len(list(tmp_path.glob(name))) < count:
        assert process.poll() is None
        time.sleep(0.02)
    return process


def output_of(process) -> str:
    """All that the command printed, once it ended."""
    try:
        return process.communicate(timeout=20)[0]
    except subprocess.TimeoutExpired:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        process.kill()
        masks = " ".join(line for line in status.splitlines() if line.startswith(("Sig", "Shd")))
        pytest.fail(f"did not end: {masks}: {process.communicate()[0]}")


@every_signal
@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_a_signal_while_nothing_is_unsaved_ends_the_command_and_its_workers(
    tmp_path, number, send, request
):
    needs(number, request)
    process = begun(tmp_path, "workers", ("worker*", 2))
    send(process.pid, number)
    output = output_of(process)
    assert (process.returncode, output) == (0, "nothing to save\n")
    assert (tmp_path / "cleaned").exists()
    assert alive(int(p.name.removeprefix("worker")) for p in tmp_path.glob("worker*")) == []


def alive(pids) -> list[int]:
    """Those of these processes that are alive a second later."""
    pids, end = list(pids), time.monotonic() + 1
    while (left := [p for p in pids if _is_alive(p)]) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def _is_alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_command_ends_after_the_workers_that_it_is_starting():
    code = """
import threading, time
from mmcot_jax import signals

def start(begun):
    with signals.blocked():
        begun.set()
        ending.wait()
        time.sleep(0.5)
        print("started", flush=True)
    with signals.blocked():
        print("one more", flush=True)

begun, ending = threading.Event(), threading.Event()
threading.Thread(target=start, args=(begun,), daemon=True).start()
begun.wait()
with signals.at_exit(ending.set):
    signals.end("ended", 3)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, "started\n", "ended\n")


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    process = begun(tmp_path, "workers", ("worker*", 2))
    process.kill()
    process.communicate()
    assert alive(int(p.name.removeprefix("worker")) for p in tmp_path.glob("worker*")) == []


@every_signal
def test_a_signal_while_something_is_unsaved_asks_to_stop(tmp_path, number, request):
    needs(number, request)
    process = begun(tmp_path, "unsaved", ("ready", 1))
    os.killpg(process.pid, number)
    os.killpg(process.pid, number)  # as `timeout` sends it twice
    output = output_of(process)
    assert (process.returncode, output) == (0, "saved\n")


@pytest.mark.parametrize("kind", ["workers", "unsaved"])
def test_a_closed_terminal_ends_the_command_too(tmp_path, kind, delivers_hangup):
    (tmp_path / "command.py").write_text(
        WITH_DEFAULTS.replace("print(", "print('x', flush=True), print(")
    )
    terminal, child_side = pty.openpty()
    controls = (
        "import fcntl, os, sys, termios\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", controls, tmp_path / "command.py", kind, tmp_path],
        **dict.fromkeys(("stdin", "stdout", "stderr"), child_side),
        start_new_session=True,
    )
    os.close(child_side)
    while len(list(tmp_path.glob("worker*" if kind == "workers" else "ready"))) < 1:
        assert process.poll() is None
        time.sleep(0.02)
    os.close(terminal)
    assert process.wait(20) == 0 and (tmp_path / "cleaned").exists()


def test_under_nohup_a_closed_terminal_is_nothing(tmp_path):
    (tmp_path / "command.py").write_text(COMMAND)
    process = subprocess.Popen(
        ["nohup", sys.executable, tmp_path / "command.py", "busy", tmp_path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.kill()
    process.wait()


def test_ctrl_c_twice_ends_at_once(tmp_path):
    process = begun(tmp_path, "busy", ("ready", 1))
    process.send_signal(signal.SIGINT)
    time.sleep(1.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output = output_of(process)
    assert process.returncode == 130
    assert output == "interrupted twice: ended at once; the same command resumes\n"
    assert (tmp_path / "cleaned").exists()


def test_a_program_that_imports_the_package_keeps_its_handlers():
    before = [signal.getsignal(x) for x in (signal.SIGTERM, signal.SIGINT)]
    from mmcot_jax import hosts, main, prepare  # noqa: F401

    assert [signal.getsignal(x) for x in (signal.SIGTERM, signal.SIGINT)] == before
    with hosts.PreemptionNotice() as preempted:
        assert not preempted()
        os.kill(os.getpid(), signal.SIGTERM)
        assert preempted() and signal.getsignal(signal.SIGINT) == before[1]
    assert signal.getsignal(signal.SIGTERM) == before[0]
    with hosts.PreemptionNotice() as preempted:
        assert not preempted()
