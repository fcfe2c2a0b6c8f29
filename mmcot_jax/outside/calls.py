"""Many requests at once; replies that are there from before are not asked for again."""

import argparse
import collections
import itertools
import pathlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

from mmcot_jax import errors, lock
from mmcot_jax.outside import flags
from mmcot_jax.outside.client import Client, Stopped, Unavailable
from mmcot_jax.outside.replies import ANSWERED, CAUSES, EMPTY, REFUSED, Outcome, Replies, Request

PROGRESS_SECONDS = 30.0
"""Time between two lines of progress."""

Tries = tuple[Outcome, ...]
"""The replies to one request: refused or empty ones, then the last one, which counts."""


def kept(request: Request, replies: Replies, base_url: str, tries: int) -> Tries:
    """Returns the replies to a request that are there; `is_complete` if none is missing."""
    found: list[Outcome] = []
    for attempt in range(tries):
        outcome = replies.get(request._replace(attempt=attempt).key(base_url))
        if outcome is None:
            break
        found.append(outcome)
        if outcome.kind == ANSWERED:
            break
    return tuple(found)


def is_complete(found: Tries, tries: int) -> bool:
    """Returns whether the last reply counts: it answers, or it was the last try."""
    return len(found) == tries or (len(found) > 0 and found[-1].kind == ANSWERED)


def pending(
    requests: Sequence[Request], replies: Replies, base_url: str, tries: int
) -> list[Request]:
    """Returns the requests that have not yet the reply that counts."""
    return [r for r in requests if not is_complete(kept(r, replies, base_url, tries), tries)]


def run(
    arguments: argparse.Namespace, folder: pathlib.Path, work: Callable[[Client, Replies], None]
) -> int:
    """Runs a command's work on the replies of a folder, which is locked; returns the exit status.

    Raises:
        ValueError: a fault of the input, the key, the server or a request.
    """
    client = Client(flags.options(arguments))  # first: a missing key leaves no folder
    with lock.hold(folder), Replies(folder) as replies:
        try:
            work(client, replies)
        except Unavailable as error:
            print(f"error: {error}{_go_on(replies)}", file=sys.stderr)
            return errors.RETRY_STATUS
        except ValueError as error:
            if not errors.is_input_error(error):
                raise
            raise ValueError(f"{error}{_go_on(replies)}") from None
    return 0


def _go_on(replies: Replies) -> str:
    if not len(replies):
        return ""
    return f"; {len(replies)} replies are kept in {replies.folder}, the same command goes on"


def send(
    client: Client,
    replies: Replies,
    requests: Sequence[Request],
    *,
    concurrency: int,
    tries: int,
    label: str,
) -> list[Tries]:
    """Returns the replies to `requests`, in order; each is kept as soon as it is there.

    A refused or empty reply is asked for again up to `tries` times in all. An error ends the run:
    requests that are under way are awaited and kept, further ones are not sent.

    Raises:
        ValueError, Unavailable: as `Client.send`.
    """
    if not requests:
        return []
    progress = _Progress(label, len(requests))

    def ask(request: Request) -> Tries:
        try:
            return answer(request)
        except BaseException:
            client.stop()  # here: the thread takes its next request before anyone sees this
            raise

    def answer(request: Request) -> Tries:
        found = kept(request, replies, client.options.base_url, tries)
        while not is_complete(found, tries):
            numbered = request._replace(attempt=len(found))
            outcome = client.send(numbered, replies)
            replies.add(numbered.key(client.options.base_url), numbered, outcome)
            found = (*found, outcome)
        progress.add(found)
        return found

    with ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(ask, request) for request in requests]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        failed = [f for f in done if f.exception() is not None]
        if failed:
            pool.shutdown(cancel_futures=True)
            errors = (f.exception() for f in futures if not f.cancelled())
            raise next(e for e in errors if e is not None and not isinstance(e, Stopped))
    progress.show()
    return [future.result() for future in futures]


class _Progress:
    """Prints a line now and then."""

    def __init__(self, label: str, total: int):
        self._label, self._total = label, total
        self._kinds: collections.Counter[str] = collections.Counter()
        self._done, self._lock = 0, threading.Lock()
        self._next = time.monotonic() + PROGRESS_SECONDS

    def add(self, found: Tries) -> None:
        """Counts a request that is complete."""
        with self._lock:
            self._done += 1
            self._kinds[found[-1].kind] += 1
            self._kinds["retries"] += sum(sum(o.retries.values()) for o in found)
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + PROGRESS_SECONDS
                self.show()

    def show(self) -> None:
        """Prints the line."""
        kinds = [kind for kind in (REFUSED, EMPTY, "retries") if self._kinds[kind]]
        counts = "".join(f", {self._kinds[kind]} {kind}" for kind in kinds)
        line = f"{self._label} {self._done}/{self._total}{counts}"
        print(line, file=sys.stderr)


def count(found: Sequence[Tries]) -> dict[str, Any]:
    """Returns counts for results.json: requests by the kind of the reply that counts, retries."""
    last = collections.Counter(tries[-1].kind for tries in found)
    retries = collections.Counter(dict.fromkeys(CAUSES, 0))  # the same keys in every run
    for outcome in flat(found):
        retries.update(outcome.retries)
    return {
        "requests": len(found),
        **{kind: last[kind] for kind in (ANSWERED, REFUSED, EMPTY)},
        "calls": sum(map(len, found)),
        "retries": dict(retries),
        "input_tokens": sum(o.input_tokens for o in flat(found)),
        "output_tokens": sum(o.output_tokens for o in flat(found)),
    }


def flat(found: Sequence[Tries]) -> Iterator[Outcome]:
    """Yields all replies."""
    return itertools.chain.from_iterable(found)
