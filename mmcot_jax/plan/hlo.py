"""What a compiled program says of itself: bytes its collectives send, and why it does not fit.

The text is HLO, one computation after another, an instruction a line. A collective inside loops
counts as often as they turn.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BYTES = {
    "pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "f8e4m3fn": 1, "f8e5m2": 1,
    "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4,
    "s64": 8, "u64": 8, "f64": 8, "c64": 8,
}  # fmt: skip
KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")

_ARRAY = re.compile(rf"\b({'|'.join(BYTES)})\[([0-9,]*)\]")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{\s*$")
_LINE = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (.*?) ([a-z][\w\-]*)\((.*)$")
_CALLED = re.compile(
    r"(?:calls|to_apply|called_computations|branch_computations|true_computation|"
    r"false_computation)=\{?([%\w.\-, ]+)\}?"
)
_OOM = re.compile(
    r"CompileTimeHbmOom.*?\((\d+(?:\.\d+)?)([KMG])\).*?\((\d+(?:\.\d+)?)([KMG])\)", re.S
)
_UNIT = {"K": 2**10, "M": 2**20, "G": 2**30}


class Unreadable(ValueError):
    """Text in a form that this module does not know."""


class Sent(NamedTuple):
    """Bytes that one device sends in one run of a program, and in how many collectives."""

    within: dict[str, float]
    """To its own slice, by kind."""
    across: float
    """To other slices."""
    times: int
    """Collectives run."""

    @property
    def total(self) -> float:
        """Bytes to anyone."""
        return sum(self.within.values()) + self.across


class _Collective(NamedTuple):
    kind: str
    sent: float
    across: bool


class _Computation(NamedTuple):
    collectives: dict[str, _Collective]
    """By channel: asynchronous ones are written down once as start and once as body."""
    calls: list[tuple[str, int | None]]
    """What it calls and how often; None: as often as a condition of data says."""


def sent(text: str, *, slice_devices: int = 0, unknown: int = 1) -> Sent:
    """Counts a program's collectives.

    All-gather of n devices' parts to a whole of S bytes sends S (n-1)/n, reduce-scatter the same,
    all-reduce twice that: what rings send, and nothing sends less. `slice_devices`: devices of a
    slice, 0 where there is one slice. A loop whose turns are not written down turns `unknown`
    times.

    Raises:
        Unreadable: groups of devices written in an unknown form.
    """
    entry, computations = _parse(text, slice_devices)
    most: dict[str, tuple[int, _Collective]] = {}

    def walk(name: str, times: int) -> None:
        here = computations[name]
        for channel, collective in here.collectives.items():
            if channel not in most or most[channel][0] < times:
                most[channel] = (times, collective)
        for called, turns in here.calls:
            walk(called, times * (unknown if turns is None else turns))

    walk(entry, 1)
    within: dict[str, float] = defaultdict(float)
    across = 0.0
    for times, (kind, size, crosses) in most.values():
        if crosses:
            across += times * size
        else:
            within[kind] += times * size
    return Sent(dict(within), across, sum(times for times, _ in most.values()))


def _parse(text: str, slice_devices: int) -> tuple[str, dict[str, _Computation]]:
    lines = dict(_computations(text))
    entry = next(name for name in lines if name.startswith("ENTRY "))
    bodies = {name.removeprefix("ENTRY "): body for name, body in lines.items()}
    computations = {}
    for name, body in bodies.items():
        found = _Computation({}, [])
        for line in body:
            if match := _LINE.match(line):
                _read(found, name, *match.groups(), line, bodies, slice_devices)
        computations[name] = found
    return entry.removeprefix("ENTRY "), computations


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
    name, body = "", []
    for line in text.splitlines():
        if not line.startswith((" ", "}")) and (match := _HEAD.match(line)):
            name, body = (match.group(1) or "") + match.group(2), []
        elif line.startswith("}") and name:
            yield name, body
            name = ""
        elif name:
            body.append(line)


def _read(found, where, shape, op, rest, line, bodies, slice_devices) -> None:
    kind = op.removesuffix("-start")
    if kind in KINDS and not op.endswith("-done"):
        channel = re.search(r"channel_id=(\d+)", line)
        key = channel.group(1) if channel else f"{where} {len(found.collectives)}"
        found.collectives[key] = _collective(kind, op, shape, line, slice_devices)
    elif op == "while":
        body = re.search(r"body=%?([\w.\-]+)", line).group(1)
        condition = re.search(r"condition=%?([\w.\-]+)", line).group(1)
        found.calls.append((body, _turns(line, bodies[condition])))
    else:
        for names in _CALLED.findall(line):
            called = (name.strip(" %") for name in names.split(","))
            found.calls.extend((name, 1) for name in called if name in bodies)


def _collective(kind: str, op: str, shape: str, line: str, slice_devices: int) -> _Collective:
    groups = _groups(kind, line)
    n = groups.shape[1] if groups.size else 1
    size = sum(_size(*match) for match in _ARRAY.findall(shape))
    if op == "all-gather-start":  # shape is (part, whole)
        size *= n / (n + 1)
    if op == "collective-permute-start":  # (from, to, and two numbers)
        size = max(_size(*match) for match in _ARRAY.findall(shape))
    share = (n - 1) / n if n else 0.0
    moved = {
        "all-gather": size * share,
        "all-reduce": 2 * size * share,
        "reduce-scatter": size * (n - 1),  # shape is the part
        "all-to-all": size * share,
        "collective-permute": size,
    }[kind]
    slices = groups // slice_devices if slice_devices else np.zeros_like(groups)
    return _Collective(kind, moved, bool((slices != slices[:, :1]).any()))


def _groups(kind: str, line: str) -> np.ndarray:
    """Devices that exchange, a row a group; no rows: all with all."""
    if kind == "collective-permute":
        return _braces(re.search(r"source_target_pairs=\{(.*?\})\}", line).group(1))
    written = line.partition("replica_groups=")[2]
    if match := re.match(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", written):
        shape, dims, order = ([int(n) for n in g.split(",")] if g else None for g in match.groups())
        return np.arange(np.prod(dims)).reshape(dims).transpose(order).reshape(shape)
    if match := re.match(r"mesh\[([^\]]*)\] \{([^}]*)\}", written):
        sizes = {name: int(n) for name, n in re.findall(r"'(\w+)'=(\d+)", match.group(1))}
        along = [part.strip(" '") for part in match.group(2).split(",")]
        if set(along) <= set(sizes):
            grid = np.arange(np.prod(list(sizes.values()))).reshape(list(sizes.values()))
            last = [list(sizes).index(name) for name in along]
            grid = np.moveaxis(grid, last, range(-len(last), 0))
            return grid.reshape(-1, np.prod([sizes[name] for name in along]))
    if match := re.match(r"\{(\{.*?\})\}", written):
        return _braces(match.group(1))
    raise Unreadable(f"a {kind} of groups in an unknown form: {written[:60]}")


def _braces(text: str) -> np.ndarray:
    return np.array([[int(n) for n in g.split(",")] for g in re.findall(r"\{([\d,]+)\}", text)])


def _size(dtype: str, dims: str) -> float:
    return BYTES[dtype] * float(np.prod([int(n) for n in dims.split(",") if n] or [1]))


def _turns(line: str, condition: list[str]) -> int | None:
    """How often a loop turns: as annotated, or by the number its counter is compared with."""
    if known := re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line):
        return int(known.group(1))
    numbers = dict(
        match.groups()
        for row in condition
        if (match := re.match(r"^\s+(?:ROOT )?%?([\w.\-]+) = [su]32\[\]\S* constant\((\d+)\)", row))
    )
    for row in condition:
        compared = re.match(r"^\s+ROOT .* compare\(%?[\w.\-]+, %?([\w.\-]+)\), direction=LT", row)
        if compared and compared.group(1) in numbers:
            return int(numbers[compared.group(1)])
    return None


def shortage(error: Exception) -> tuple[float, float] | None:
    """Bytes wanted and bytes there are, of a program that the compiler refused; None: not that."""
    match = _OOM.search(str(error))
    if not match:
        return None
    wanted, unit, there, there_unit = match.groups()
    return float(wanted) * _UNIT[unit], float(there) * _UNIT[there_unit]
