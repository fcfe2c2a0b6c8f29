"""One command at a time writes into a folder; a holder that died is no obstacle."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mmcot_jax import lock

HOLD = """
import pathlib, sys, time
from mmcot_jax import lock
folder = pathlib.Path(sys.argv[1])
with lock.hold(folder, ending=lambda: (folder / "ending").exists()):
    print("held", flush=True)
    while not (folder / "release").exists():
        time.sleep(0.02)
"""


@pytest.fixture
def quick(monkeypatch):
    """Waits of a tenth of a second."""
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(lock, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.4)


@contextlib.contextmanager
def other(folder):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def content(folder) -> dict:
    return json.loads((folder / lock.FILE).read_text())


def change(folder, **values) -> None:
    (folder / lock.FILE).write_text(json.dumps(content(folder) | values))


def test_a_second_command_is_told_who_holds_the_folder_and_touches_nothing(tmp_path):
    with other(tmp_path) as process:
        before = sorted(tmp_path.iterdir())
        host = content(tmp_path)["host"]
        message = (
            rf"{tmp_path} is in use by process {process.pid} on {host} since 20\d\d-.* UTC "
            r"\(.*python.*\): wait for it, stop it, or give another folder"
        ).replace(" UTC", r"\+00:00")
        with pytest.raises(ValueError, match=message):
            with lock.hold(tmp_path):
                pass
        assert sorted(tmp_path.iterdir()) == before and content(tmp_path)["pid"] == process.pid


def test_a_lock_is_released_and_a_folder_that_stays_empty_is_removed(tmp_path):
    with lock.hold(tmp_path / "a/b"):
        assert content(tmp_path / "a/b")["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError), lock.hold(tmp_path / "a"):
        (tmp_path / "a/x").touch()
        raise RuntimeError
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["x"]


@pytest.mark.parametrize("reaped", [True, False])
def test_the_lock_of_a_killed_process_is_taken_at_once(tmp_path, reaped):
    with other(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        if reaped:
            process.wait()
        else:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        began = time.monotonic()
        with lock.hold(tmp_path):
            assert content(tmp_path)["pid"] == os.getpid()
        assert time.monotonic() - began < 2


def test_the_lock_of_a_process_whose_number_was_given_again_is_taken(tmp_path):
    with other(tmp_path):
        change(tmp_path, started="1")
        with lock.hold(tmp_path):
            pass


def test_the_lock_of_another_machine_holds_while_it_is_renewed(tmp_path, quick):
    with other(tmp_path) as process:
        change(tmp_path, machine="another boot")  # it writes its own again in 10 s
        lines = (tmp_path / lock.FILE).read_text()
        process.kill()
        began = time.monotonic()
        with lock.hold(tmp_path):  # never renewed
            assert time.monotonic() - began > lock.STALE_SECONDS
    (tmp_path / lock.FILE).write_text(lines)
    renews = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import json, sys, time\n"
            "for n in range(500):\n"
            "    held = json.load(open(sys.argv[1])) | {'renewals': n}\n"
            "    open(sys.argv[1] + '.new', 'w').write(json.dumps(held))\n"
            "    __import__('os').replace(sys.argv[1] + '.new', sys.argv[1])\n"
            "    time.sleep(0.01)",
            tmp_path / lock.FILE,
        ]
    )
    try:
        with pytest.raises(ValueError, match="is in use by process"), lock.hold(tmp_path):
            pass
    finally:
        renews.kill()
        renews.wait()


@pytest.mark.parametrize("text", ["", "{", '{"pid": 3}'])
def test_a_lock_that_cannot_be_read_is_taken_after_a_while(tmp_path, quick, text, capfd):
    (tmp_path / lock.FILE).write_text(text)
    with lock.hold(tmp_path):
        assert content(tmp_path)["pid"] == os.getpid()
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"waiting up to 0 s: {tmp_path} is in use by a process unknown")


def test_a_holder_that_saves_after_a_signal_is_waited_for(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.05)
    with other(tmp_path) as process:
        (tmp_path / "ending").touch()
        while not content(tmp_path)["ending"]:
            time.sleep(0.02)
        script = f"import time; time.sleep(0.3); open({str(tmp_path / 'release')!r}, 'w')"
        releases = subprocess.Popen([sys.executable, "-c", script])
        with lock.hold(tmp_path):
            assert content(tmp_path)["pid"] == os.getpid()
        releases.wait()
        assert process.wait() == 0
        line = capfd.readouterr().err
        assert line.startswith(f"waiting: {tmp_path} is being saved by process {process.pid}")
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0.1)
    (tmp_path / "release").unlink()
    with other(tmp_path):
        while not content(tmp_path)["ending"]:
            time.sleep(0.02)
        with pytest.raises(ValueError, match="is in use"), lock.hold(tmp_path):
            pass


def test_a_lock_is_renewed(tmp_path, quick):
    with lock.hold(tmp_path):
        while content(tmp_path)["renewals"] < 2:
            time.sleep(0.02)
        assert content(tmp_path)["ending"] is False
    assert list(tmp_path.iterdir()) == []


def test_a_holder_whose_lock_was_taken_ends_and_leaves_the_new_one(tmp_path):
    script = HOLD.replace(
        "folder =",
        "lock.POLL_SECONDS, lock.RENEW_SECONDS = 0.02, 0.02\nfolder =",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    temporary = tmp_path / "new"
    temporary.write_text(json.dumps(content(tmp_path) | {"token": "new", "host": "h2"}))
    os.replace(temporary, tmp_path / lock.FILE)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    (line,) = errors.splitlines()
    assert line.startswith("error: this process was silent for 120 s, and") and "on h2" in line
    assert content(tmp_path)["token"] == "new"
