"""Text files as editors and spreadsheets save them, and JSON in them. Host only.

A file is UTF-8, UTF-16 or UTF-32, with or without a byte order mark. A line ends at "\\n" or
"\\r\\n" only: U+2028, U+2029, U+0085 and U+001C, where `str.splitlines` breaks too, are text.
"""

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
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


def read_cells(path: Path, delimiter: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yields the rows of a table as spreadsheets save it, the names first, each with its place.

    Without a `delimiter` cells are separated by the comma, semicolon or tab that is most frequent
    in the first line.

    Raises:
        ValueError: as `read_text` and `parse_cells`.
    """
    text = read_text(path).replace("\r", "\n")  # an old Macintosh ends a line so
    delimiter = delimiter or max(",;\t", key=text.split("\n", 1)[0].count)
    yield from parse_cells(io.StringIO(text), path, delimiter)


def parse_cells(
    lines: Iterable[str], path: Path, delimiter: str
) -> Iterator[tuple[str, list[str]]]:
    """Yields the rows of a table that are not empty, each with its place; `path` names the table.

    Raises:
        ValueError: no CSV, such as a quote that is not closed; names the line where the row begins.
    """
    before = csv.field_size_limit(sys.maxsize)  # the process's limit: a picture may be a cell
    try:
        # strict: a quote that is not closed would join its row with others
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            line = rows.line_num + 1
            if cells := next(rows):
                yield f"{path}:{rows.line_num}", cells
    except StopIteration:
        return
    except csv.Error as error:
        raise ValueError(
            f"{path}:{line}: no CSV ({str(error).partition(' - ')[0]}); close each quote, or save "
            "the table anew"
        ) from None
    finally:
        csv.field_size_limit(before)


def check_columns(
    path: Path, names: Sequence[str], needed: Sequence[str], optional: Sequence[str] = ()
) -> None:
    """Checks the first line of a table.

    Raises:
        ValueError: a needed column is not there, or a needed or optional one is there twice.
    """
    there = ", ".join(filter(None, names))
    if missing := [name for name in needed if name not in names]:
        advice = "name the columns in its first line"
        if any(mark in there for mark in (";", "\t", "sep=")):
            mark = "a tab" if path.suffix.lower() == ".tsv" else "','"
            advice = f"separate cells by {mark}, and name the columns in the first line"
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; it has {there or 'none'}: {advice}"
        )
    if twice := [name for name in (*needed, *optional) if name and names.count(name) > 1]:
        raise ValueError(f"{path} has the column {twice[0]} twice; give each another name")


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


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the objects of a file of JSON lines or of one JSON list, each with its place.

    A place is `file:line`. In a file that is one list, the lines are those of its objects, from 1.

    Raises:
        ValueError: the file is not there, is no JSON, or holds another value than objects.
    """
    for number, value in _values(path):
        place = f"{path}:{number}"
        check_object(value, place, "one object a line")
        yield place, value


def _values(path: Path) -> Iterator[tuple[int, Any]]:
    first = next(read_lines(path), (0, b""))[1]
    if first.lstrip().startswith(b"["):
        yield from enumerate(parse_json_at(read_text(path), str(path), "a list of objects"), 1)
        return
    for number, line in read_lines(path):
        yield number, parse_json_at(line, f"{path}:{number}", "one object a line")


def parse_json_at(text: bytes | str, place: str, expected: str) -> Any:
    """Returns the value of a JSON text; an error names its place and the expected value.

    Raises:
        ValueError: no JSON, in one line.
    """
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{place}: {error}; {expected} is expected") from None


def check_object(value: Any, place: str, expected: str) -> None:
    """Raises a `ValueError` if a JSON value is no object."""
    if not isinstance(value, dict):
        raise ValueError(f"{place}: a JSON {type(value).__name__}; {expected} is expected")


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
