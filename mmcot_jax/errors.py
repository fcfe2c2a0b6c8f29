"""Errors of the input and the disk: one line on standard error; suggestions for misspelt names."""

import difflib
import errno
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from numbers import Integral

STATUS = 2
"""Exit status of a command whose input is at fault, or whose disk."""
RETRY_STATUS = 75  # EX_TEMPFAIL of sysexits.h
"""Exit status of a command whose disk did not answer: the same command may work later."""


class TooLong(ValueError):
    """A row has more tokens than the model's context holds."""


_IN_THE_WAY = "something else is in the way; remove it, or give another folder"
_NOT_ALLOWED = "make it readable and writable for this user, or give another folder"
_NO_ANSWER = "the disk does not answer as it should; repair it and run the same command again"
_ADVICE = {
    errno.ENOSPC: "free some space there and run the same command again",
    errno.EDQUOT: "free some of your quota and run the same command again",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f) and run the same command again",
    errno.EROFS: "make the disk writable, or give another folder",
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.ENOENT: "it is missing, or was removed or renamed meanwhile; bring it back",
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EISDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTEMPTY: _IN_THE_WAY,
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "its links lead in a circle; give another folder",
    errno.EBUSY: "something else uses it; end that, or give another folder",
    errno.EMFILE: "raise the limit of open files (ulimit -n) and run the same command again",
    errno.ENFILE: "too many files are open on this machine; close some",
    errno.EIO: _NO_ANSWER,
    errno.ESTALE: _NO_ANSWER,
    errno.ETIMEDOUT: _NO_ANSWER,
    errno.ENXIO: _NO_ANSWER,
    errno.ENODEV: _NO_ANSWER,
}
_UNANSWERED = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENXIO, errno.ENODEV}
_NAMELESS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE}
"""Errors of a disk even if they name no file: those of a write."""
# texts into which tensorstore and array_record turn the system's error
_TENSORSTORE = re.compile(r"os_error_code='(\d+)'|NOT_FOUND: .*\blocal file ")
_PATH = re.compile(r"""["'](/[^"']+)["']|writing (/[^ ;]+)""")


def suggest(word: str, known: Iterable[str]) -> str:
    """Returns `", did you mean 'sft.max_steps'?"`, or "" if no known word is similar."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def shorten(items: Sequence[str], most: int) -> list[str]:
    """Returns the first `most` items, and `and N more` if there are others."""
    left = len(items) - most
    return [*items[:most], *([f"and {left} more"] if left > 0 else [])]


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raises a `ValueError` if an option has none of its possible values."""
    if value not in choices:
        hint = suggest(str(value), choices)
        raise ValueError(f"{name} is {value!r}{hint}; choose from {', '.join(choices)}")


def check_whole(name: str, value: object, least: int) -> None:
    """Raises a `ValueError` if a number is not whole, or below `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} is {value!r}; give a whole number, {least} or more")


def is_input_error(error: ValueError) -> bool:
    """Returns whether this package raised the error, so that its message alone explains it."""
    package = pathlib.Path(__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    return package in pathlib.Path(frames[-1].filename).parents


def run_command(command: Callable[[], int | None], prefix: str = "error") -> int:
    """Runs a command and returns its exit status.

    A `ValueError` of this package, and an error of the disk, is printed as one line, `prefix:
    message`, and gives `STATUS`, or `RETRY_STATUS` if the disk did not answer; any other error is
    raised.
    """
    try:
        status = command() or 0
        _flush_output()
        return status
    except Exception as error:
        if isinstance(error, ValueError) and is_input_error(error):
            line, status = str(error), STATUS
        elif found := find_disk_error(error):
            line, status = found
        else:
            raise
    print(f"{prefix}: {line}", file=sys.stderr)
    return status


def _flush_output() -> None:
    """Writes what is printed: a full disk is noticed here, not after the last line of Python."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # `| head` has seen enough
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes at its end
        raise OSError(error.errno, error.strerror, "/dev/stdout") from error


def find_disk_error(error: BaseException) -> tuple[str, int] | None:
    """Returns one line and the exit status for an error that the disk caused, or None.

    Finds it in the causes of an error, in its group, and in the texts of tensorstore.
    """
    for each in _causes(error):
        number, path = _disk_error(each)
        if number in _ADVICE and (path or number in _NAMELESS):
            line = f"{path or 'the disk'}: {os.strerror(number)}: {_ADVICE[number]}"
            return " ".join(line.split()), RETRY_STATUS if number in _UNANSWERED else STATUS
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    yield error
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _causes(each)
    if error.__cause__ is not None:
        yield from _causes(error.__cause__)


def _disk_error(error: BaseException) -> tuple[int | None, str]:
    """Returns the number of a system's error and its file's name."""
    if isinstance(error, OSError):
        name = error.filename
        return error.errno, os.fsdecode(name) if isinstance(name, str | bytes) else ""
    text = str(error)
    if found := _TENSORSTORE.search(text):
        number = int(found[1] or errno.ENOENT)
    else:
        number = next((n for n in _NAMELESS if os.strerror(n) in text), None)
    paths = [quoted or plain for quoted, plain in _PATH.findall(text)]
    return number, paths[-1] if paths else ""
