"""Writes files and folders atomically and durably; removes what killed processes left.

A temporary file or folder is named `.NAME.RANDOM.PID`, beside what it becomes: processes of several
machines may share a disk, and have equal numbers. No jax.
"""

import contextlib
import errno
import os
import pathlib
import re
import secrets
import shutil
from collections.abc import Iterator
from typing import IO

TEMPORARY = (
    r"\..+\.\d+",  # .results.json.1f0c9a52.4711
    r"config\.\d+",  # of an earlier version
)
"""Names of temporary files, as regular expressions."""
WRITTEN = (
    "*",
    "completions/*",
    "completions/prompts/*",
    "samples*/*",
    "failures/*",
    "tensorboard/*/*",
)
"""Places of a workdir in which files are written atomically, as patterns."""
UNFINISHED = "checkpoints/*/*.orbax-checkpoint-tmp*"
"""Folders of a workdir that did not become checkpoints."""


@contextlib.contextmanager
def atomic(path: str | pathlib.Path, mode: str = "wb") -> Iterator[IO]:
    """Opens a temporary file that replaces `path` once it is complete and on disk.

    After a kill or a power cut `path` is the old file or the new one. An error leaves the old one.

    Raises:
        OSError: with `path` as its file name.
    """
    path = pathlib.Path(path)
    temporary = temporary_of(path)
    try:
        make_folder(path.parent)
        with naming(path):
            text = {"encoding": "utf-8", "errors": "backslashreplace"}  # \ud800 is valid in JSON
            with temporary.open(mode, **({} if "b" in mode else text)) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_text(path: str | pathlib.Path, text: str) -> None:
    """Writes a file atomically, into a folder that may be new."""
    with atomic(path, "w") as file:
        file.write(text)


@contextlib.contextmanager
def atomic_folder(path: str | pathlib.Path) -> Iterator[pathlib.Path]:
    """Makes a temporary folder that becomes `path`, new or empty, once it is complete and on disk.

    An error removes it. What a killed process left of the same folder is removed first.

    Raises:
        ValueError: `path` is a mount point, which no folder can become.
    """
    path = pathlib.Path(path).resolve()
    if path.is_mount():
        raise ValueError(f"{path} is a mount point; give a folder in it")
    for leftover in path.parent.glob(f".{_escape(path.name)}.*"):
        if leftover.name.rpartition(".")[2].isdigit() and not _is_alive(leftover):
            shutil.rmtree(leftover, ignore_errors=True)
    temporary = temporary_of(path)
    try:
        make_folder(path.parent)
        temporary.mkdir()
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                sync_file(pathlib.Path(folder) / name)
            sync_folder(folder)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _escape(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def temporary_of(path: pathlib.Path) -> pathlib.Path:
    """Returns a path beside `path` that no other process or thread has."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{os.getpid()}")


def _is_alive(temporary: pathlib.Path) -> bool:
    """Returns whether another process of this machine is writing a temporary file."""
    pid = int(temporary.name.rpartition(".")[2])
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def naming(path: str | pathlib.Path) -> Iterator[None]:
    """Gives an OSError within it the name of the file: a failed write has none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise


def make_folder(folder: str | pathlib.Path) -> None:
    """Makes a folder and its parents, durably."""
    folder = pathlib.Path(folder)
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: str | pathlib.Path) -> None:
    """Writes a folder's list of names to disk, without which a power cut takes its new files."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def sync_file(path: str | pathlib.Path) -> None:
    """Writes a file that is complete to disk."""
    _sync(path, os.O_RDONLY)


def _sync(path: str | pathlib.Path, flags: int) -> None:
    with naming(path):
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # buckets mounted as folders
                raise
        finally:
            os.close(descriptor)


def clean_leftovers(workdir: str | pathlib.Path) -> list[pathlib.Path]:
    """Removes what killed processes left in a workdir; returns the paths.

    Call it in one process that holds the workdir's lock, before any process of the run writes:
    every temporary file there is then of a dead process.
    """
    workdir = pathlib.Path(workdir)
    written = (path for place in WRITTEN for path in sorted(workdir.glob(place)))
    found = [
        path
        for path in written
        if any(re.fullmatch(name, path.name) for name in TEMPORARY) and path.is_file()
    ]
    found += sorted(workdir.glob(UNFINISHED))
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return found
