"""Text files as editors and spreadsheets save them, and JSON in them. Host only.

A file is UTF-8, UTF-16 or UTF-32, with or without a byte order mark. A line ends at "\\n" or
"\\r\\n" only: U+2028, U+2029, U+0085 and U+001C, where `str.splitlines` breaks too, are text.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields the lines that are not blank, as UTF-8 without their ends, and their numbers from 1.

    Raises:
        ValueError: the file is not there, or is no text of its encoding.
    """
    _check_is_file(path)
    with path.open("rb") as file:
        encoding = json.detect_encoding(file.read(4))
        file.seek(len(b"\xef\xbb\xbf") if encoding == "utf-8-sig" else 0)
        lines = file if encoding.startswith("utf-8") else _recode(path, encoding)
        for number, line in enumerate(lines, 1):
            if line := line.strip(b"\r\n"):
                if line.strip():
                    yield number, line


def read_text(path: Path) -> str:
    """Returns a file's text without a byte order mark, its lines ending in "\\n".

    Raises:
        ValueError: the file is not there, or is no text of its encoding.
    """
    _check_is_file(path)
    data = path.read_bytes()
    try:
        return data.decode(json.detect_encoding(data)).replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}:{line}: not {error.encoding.upper()} ({error.reason}); save it as UTF-8"
        ) from None


def parse_json(data: bytes | str) -> Any:
    """Returns the value of a JSON text.

    Raises:
        ValueError: no JSON, in one line.
    """
    try:
        return json.loads(data)
    except UnicodeDecodeError as error:
        raise ValueError(f"not JSON (not {error.encoding.upper()}: {error.reason})") from None
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None
    except RecursionError:
        raise ValueError("not JSON (nested too deeply)") from None


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"{path} is no file; give one that is there")


def _recode(path: Path, encoding: str) -> list[bytes]:
    try:
        # half a surrogate pair makes its line invalid, not the file
        text = path.read_bytes().decode(encoding, "surrogatepass")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not {encoding.upper()} ({error.reason}); save it as UTF-8"
        ) from None
    return text.encode("utf-8", "surrogatepass").split(b"\n")
