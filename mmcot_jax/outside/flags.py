"""The flags that commands for outside models share, and their checks."""

import argparse
import math
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from mmcot_jax import errors, textfile
from mmcot_jax.config import Parser, check_folder
from mmcot_jax.outside.client import KEY, Options
from mmcot_jax.outside.replies import FILE

OPENAI_URL = "https://api.openai.com/v1"
MOST_THREADS = 256


def add(parser: Parser, *, model: str, temperature: str) -> None:
    """Adds the shared flags."""
    parser.add_argument("--model", default=model, help=f"model that replies (default {model})")
    parser.add_argument(
        "--base-url",
        default=os.environ.get("OPENAI_BASE_URL") or OPENAI_URL,
        help=f"server (default $OPENAI_BASE_URL, or {OPENAI_URL})",
    )
    parser.add_argument("--temperature", type=float, help=f"of sampling (default {temperature})")
    parser.add_argument("--out", help="folder of replies and results")
    parser.add_argument(
        "--concurrency", type=int, default=8, help="requests at the same time (default 8)"
    )
    parser.add_argument(
        "--tries",
        type=int,
        default=1,
        help="times a request is sent while its reply is refused or empty (default 1; study 10)",
    )
    parser.add_argument(
        "--max-retries",
        type=int,
        default=8,
        help="retries after 429, 5xx, a time-out or a lost connection (default 8)",
    )
    parser.add_argument(
        "--backoff", type=float, default=1.0, help="seconds before the first retry (default 1)"
    )
    parser.add_argument(
        "--timeout", type=float, default=120.0, help="seconds without a byte (default 120)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print calls and cost, send nothing and end"
    )
    parser.epilog = f"The key of the server is read from {KEY} in the environment only."


def parse(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """Parses and checks the flags.

    Raises:
        ValueError: an unknown flag, or a value out of range.
    """
    flags = sorted(flag for flag in parser._option_string_actions if flag.startswith("--"))
    for flag in (word.partition("=")[0] for word in argv if word.startswith("--")):
        if flag not in ("--", *flags):
            hint = errors.suggest(flag, flags)
            raise ValueError(f"there is no flag {flag!r}{hint}; choose from {', '.join(flags)}")
    arguments = parser.parse_args(argv)
    for name, (fits, wanted) in _RANGES.items():
        value = getattr(arguments, name, None)
        if value is not None and not fits(value):
            raise ValueError(f"--{name.replace('_', '-')} is {value}; give {wanted}")
    for name in ("model", "image_model"):
        if not getattr(arguments, name, "x").strip():
            raise ValueError(f"--{name.replace('_', '-')} is empty; give the name of a model")
    arguments.base_url = _check_url(arguments.base_url)
    return arguments


_Check = tuple[Callable[[Any], bool], str]


def _from(least: int, most: int | float = math.inf) -> _Check:
    until = f" to {most:g}" if most < math.inf else " or more"
    return (lambda value: least <= value <= most), f"a whole number, {least}{until}"


_SECONDS: _Check = (lambda value: 0 < value <= 86400), "seconds above 0, 86400 at most"
_RANGES: dict[str, _Check] = {
    "concurrency": _from(1, MOST_THREADS),
    "tries": _from(1, 100),
    "max_retries": _from(0, 1000),
    "limit": _from(1),
    "samples": _from(1),
    "pictures": _from(1),
    "timeout": _SECONDS,
    "backoff": _SECONDS,
    "temperature": ((lambda value: 0 <= value <= 2), "a number from 0 to 2"),
}


def _check_url(url: str) -> str:
    url = url.strip()
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
        whole = whole and url.isprintable() and " " not in url
        (parts.hostname or "").encode("idna")  # a label that is empty or too long
    except ValueError:
        whole = False
    if not whole:
        raise ValueError("--base-url is no address of a server; give one such as " + OPENAI_URL)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(
            f"--base-url holds more than a server's address; set the key as {KEY} in the "
            "environment, from where it is written nowhere"
        )
    return url.rstrip("/")


def folder(arguments: argparse.Namespace, default: pathlib.Path, group: str) -> pathlib.Path:
    """Returns the folder of results; `group` is one of those that the command's results.json has.

    Raises:
        ValueError: `--out` is empty, a file is in the way, or the folder has another command's
            results, such as a run's.
    """
    found = check_folder("--out", str(default) if arguments.out is None else arguments.out)
    path = found / "results.json"
    if path.is_file():
        results = textfile.parse_json_at(textfile.read_text(path), str(path), "one object")
        own = isinstance(results, dict) and {group, "calls"} <= results.keys()
    else:
        own = (found / FILE).exists() or not (found / "completions").exists()
    if not own:
        raise ValueError(
            f"{found} has results of another command, which would be lost; give another --out"
        )
    return found


def options(arguments: argparse.Namespace) -> Options:
    """Returns the server and how requests are repeated."""
    return Options(arguments.base_url, arguments.timeout, arguments.max_retries, arguments.backoff)


def sampling(arguments: argparse.Namespace, temperature: float | None) -> dict[str, float | int]:
    """Returns the fields of a request for sampling; `temperature` is the default, None: unsent."""
    value = temperature if arguments.temperature is None else arguments.temperature
    return {} if value is None else {"temperature": value}
