"""Fields of a record: a task declares a kind for each, and every value is checked against it.

    SCHEMA = {"question": text, "width": positive, "possible_answers": optional(texts, ())}
    read({"question": "Where?", "width": 640}, SCHEMA)

A field that is null counts as absent: `datasets` gives all records, and all objects in them, every
field, with None where there was none.
"""

import math
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Kind = Callable[[Any, str], Any]
"""(value, name of the field) -> checked value; raises `BadRecord`."""
LARGEST = 10**9
"""Largest number of a field; larger ones are damage."""


_REPR = reprlib.Repr()
_REPR.maxstring, _REPR.maxother, _REPR.maxlevel = 100, 60, 3


class BadRecord(ValueError):
    """A record that cannot be used; `reason` is the same text for all records of one fault."""

    def __init__(self, message: str, reason: str = ""):
        super().__init__(message)
        self.reason = reason or message


class Optional(NamedTuple):
    """A field that may be absent."""

    kind: Kind
    default: Any


def optional(kind: Kind, default: Any = None) -> Optional:
    """Returns the declaration of a field that may be absent or null."""
    return Optional(kind, default)


def read(fields: Any, schema: Mapping[str, Kind | Optional]) -> dict[str, Any]:
    """Returns the checked value of every field of the schema; others are left out.

    Raises:
        BadRecord: a field is absent or of another kind.
    """
    return struct(schema)(fields, "")


def show(value: object) -> str:
    """Returns a value on one line, its middle left out where it is long."""
    return _REPR.repr(value)


# ---- kinds ---------------------------------------------------------------------------------------


def text(value: Any, name: str) -> str:
    """Reads text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise _wrong(value, name, "text")
    if not is_whole(value):
        raise _wrong(value, name, "text without half characters")
    return value


def is_whole(value: str) -> bool:
    """Returns whether a text has no half of a character, which UTF-8 cannot hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_or_number(value: Any, name: str) -> str:
    """Reads text, or a finite number of any size as its text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, float) and not math.isfinite(value):
            raise _wrong(value, name, "a number")
        if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
            return str(int(value))  # pandas makes 3.0 of 3 beside a gap
        return str(value)
    return text(value, name)


def number(value: Any, name: str) -> int | float:
    """Reads a finite number of at most `LARGEST`."""
    if not _is_number(value):
        raise _wrong(value, name, "a number")
    return value


def whole(value: Any, name: str) -> int:
    """Reads a whole number, 0 or more."""
    if not _is_number(value) or value < 0 or value != int(value):
        raise _wrong(value, name, "a whole number, 0 or more,")
    return int(value)


def positive(value: Any, name: str) -> int:
    """Reads a whole number, 1 or more."""
    if not _is_number(value) or value < 1 or value != int(value):
        raise _wrong(value, name, "a whole number, 1 or more,")
    return int(value)


def flag(value: Any, name: str) -> bool:
    """Reads true or false."""
    if not isinstance(value, bool):
        raise _wrong(value, name, "true or false")
    return value


def string(value: Any, name: str) -> str:
    """Reads text that may be blank."""
    return value if isinstance(value, str) and not value.strip() else text(value, name)


def texts(value: Any, name: str) -> tuple[str, ...]:
    """Reads one text, or a list of at least one."""
    if isinstance(value, str):
        return (text(value, name),)
    if not isinstance(value, list | tuple) or not value:
        raise _wrong(value, name, "text, or a list of texts,")
    return tuple(text(item, f"{name}[{n}]") for n, item in enumerate(value))


def list_of(kind: Kind, length: int | None = None) -> Kind:
    """Returns the kind of a list, of `length` items if that is given."""

    def read(value: Any, name: str) -> list[Any]:
        if not isinstance(value, list | tuple) or length not in (None, len(value)):
            raise _wrong(value, name, f"a list of {length} items" if length else "a list")
        return [kind(item, f"{name}[{n}]") for n, item in enumerate(value)]

    return read


def mapping_of(kind: Kind) -> Kind:
    """Returns the kind of an object with any names; those that are null are left out."""

    def read(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _wrong(value, name, "an object")
        present = {x: item for x, item in value.items() if item is not None}
        return {text(x, name): kind(item, f"{name}.{x}") for x, item in present.items()}

    return read


def struct(schema: Mapping[str, Kind | Optional]) -> Kind:
    """Returns the kind of an object with the fields of a schema."""

    def read(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _wrong(value, name or "it", "an object")
        found = {}
        for field, kind in schema.items():
            item, place = value.get(field), f"{name}.{field}" if name else field
            if item is None and isinstance(kind, Optional):
                found[field] = kind.default
            elif item is None:
                raise _absent(value, place, field)
            else:
                read_item = kind.kind if isinstance(kind, Optional) else kind
                found[field] = read_item(item, place)
        return found

    return read


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -LARGEST <= value <= LARGEST
        and math.isfinite(value)
    )


def _wrong(value: Any, name: str, expected: str) -> BadRecord:
    field = name.split("[")[0].split(".")[0]
    return BadRecord(
        f"has {show(value)} in {name}; {expected} is expected",
        f"with a wrong {field}: {expected.rstrip(',')} is expected",
    )


def _absent(value: Mapping[str, Any], place: str, field: str) -> BadRecord:
    null = " (it is null)" if field in value else ""
    return BadRecord(
        f"has no field {place!r}{null}; it has {', '.join(map(str, list(value)[:20]))}",
        f"without the field {place.split('[')[0]!r}",
    )
