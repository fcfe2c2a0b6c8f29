"""Errors of the input: one line on standard error, and suggestions for misspelt names."""

import difflib
import pathlib
import sys
import traceback
from collections.abc import Callable, Collection, Iterable

STATUS = 2
"""Exit status of a command whose input is at fault."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Returns `", did you mean 'sft.steps'?"`, or "" if no known word is similar."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raises a `ValueError` if an option has none of its possible values."""
    if value not in choices:
        hint = suggest(str(value), choices)
        raise ValueError(f"{name} is {value!r}{hint}; choose from {', '.join(choices)}")


def is_input_error(error: ValueError) -> bool:
    """Returns whether this package raised the error, so that its message alone explains it."""
    package = pathlib.Path(__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    return package in pathlib.Path(frames[-1].filename).parents


def run_command(command: Callable[[], int | None], prefix: str = "error") -> int:
    """Runs a command and returns its exit status.

    A `ValueError` of this package is printed as one line, `prefix: message`, and gives `STATUS`;
    any other error is raised.
    """
    try:
        return command() or 0
    except ValueError as error:
        if not is_input_error(error):
            raise
        print(f"{prefix}: {error}", file=sys.stderr)
        return STATUS
