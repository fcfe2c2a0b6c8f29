"""Requests to outside models and the replies to them, kept on disk as they come."""

import datetime
import hashlib
import json
import os
import pathlib
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from mmcot_jax import files

FILE = "replies.jsonl"
PICTURES = "pictures"
"""Folder of drawn pictures, beside `FILE`; their names are the hashes of their bytes."""

ANSWERED, REFUSED, EMPTY = "answered", "refused", "empty"
"""Kinds of replies."""
CAUSES = ("429", "5xx", "time-out", "connection", "malformed", "other")
"""Failures after which a request is repeated."""


class Request(NamedTuple):
    """A request. Two that differ only in `sample` or `attempt` are different ones."""

    endpoint: str
    """"chat/completions" or "images/generations"."""
    body: Mapping[str, Any]
    """Plain JSON. The URL of an image is its path, `pictures/HASH.png`, which names its bytes."""
    sample: int = 0
    attempt: int = 0

    def key(self, base_url: str) -> str:
        """Returns the hash of the request to a server."""
        content = json.dumps([base_url, *self], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


class Outcome(NamedTuple):
    """A reply, as it is kept."""

    kind: str
    """One of `ANSWERED`, `REFUSED`, `EMPTY`."""
    text: str
    """The words of a reply or of a refusal."""
    picture: str = ""
    """The path of a drawn picture from the folder, `pictures/HASH.png`."""
    input_tokens: int = 0
    output_tokens: int = 0
    ended: bool = True
    """False if the server's limit of tokens ended the reply."""
    retries: Mapping[str, int] = {}
    """Failures before it, by cause: one of `CAUSES` each."""


class Replies:
    """The replies of a folder by the hash of their request; a context.

    A reply is one line, written at once and on disk before the next step. A kill can cut the last
    line, which is then removed at the next start: its request has no reply. The file holds texts
    only; a picture is a file of its own, complete before its line is written. One process at a time
    may write: hold the lock of the folder.

    Raises:
        ValueError: a line that is not the last is broken.
    """

    def __init__(self, folder: pathlib.Path, *, read_only: bool = False):
        self.folder, self._path = folder, folder / FILE
        self._lock = threading.Lock()
        self._kept, size = _read(self._path)
        self._file = None
        if not read_only:
            files.make_folder(folder)
            for cut in (folder / PICTURES).glob(".*"):  # temporary files of a killed process
                cut.unlink(missing_ok=True)
            with files.naming(self._path):
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
                os.ftruncate(self._file, size)
                os.fsync(self._file)
            files.sync_folder(folder)

    def __enter__(self) -> "Replies":
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file."""
        if self._file is not None:
            os.close(self._file)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> Outcome | None:
        """Returns the reply to a request, or None. A picture that is gone is no reply."""
        outcome = self._kept.get(key)
        gone = outcome and outcome.picture and not (self.folder / outcome.picture).is_file()
        return None if gone else outcome

    def add(self, key: str, request: Request, outcome: Outcome) -> None:
        """Keeps a reply; it is on disk when this returns.

        Raises:
            OSError: the disk is full or does not answer; the file is as before.
        """
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = {"key": key, "time": now, "reply": outcome._asdict(), "request": request._asdict()}
        data = (json.dumps(line) + "\n").encode()
        with self._lock, files.naming(self._path):
            size = os.fstat(self._file).st_size
            try:
                written = os.write(self._file, data)
                if written < len(data):  # a full disk takes a part; the rest raises
                    os.write(self._file, data[written:])
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, size)
                raise
            self._kept[key] = outcome

    def add_picture(self, data: bytes, suffix: str) -> str:
        """Writes a picture; returns its path from the folder."""
        name = f"{PICTURES}/{hashlib.sha256(data).hexdigest()}.{suffix}"
        with self._lock, files.atomic(self.folder / name) as file:  # two may be alike
            file.write(data)
        return name


def _read(path: pathlib.Path) -> tuple[dict[str, Outcome], int]:
    """Returns the replies of a file and the size of its whole lines."""
    data = path.read_bytes() if path.exists() else b""
    *lines, cut = data.split(b"\n")
    kept = {}
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
            kept[value["key"]] = Outcome(**value["reply"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{path}:{number} is not a line of replies: remove the line, or give another --out"
            ) from None
    return kept, len(data) - len(cut)
