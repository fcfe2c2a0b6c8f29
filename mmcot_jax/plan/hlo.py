"""Reads compiled programs (HLO text): the bytes their collectives send, and out-of-memory errors.

The text has one computation after another, an instruction per line. A collective inside loops
counts once per iteration.
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
    """HLO text in an unknown format."""


class CollectiveBytes(NamedTuple):
    """Bytes that one device sends in one run of a program, and the number of collectives."""

    within_slice: dict[str, float]
    """Bytes to its own slice, by kind of collective."""
    across_slices: float
    """Bytes to other slices."""
    count: int
    """Collectives run."""

    @property
    def total(self) -> float:
        """All bytes."""
        return sum(self.within_slice.values()) + self.across_slices


class _Collective(NamedTuple):
    kind: str
    sent: float
    across_slices: bool


class _Computation(NamedTuple):
    collectives: dict[str, _Collective]
    """By channel: an asynchronous collective is in the text twice, as its start and as its body."""
    calls: list[tuple[str, int | None]]
    """Called computations and their trip counts; None: depends on data."""


def collective_bytes(text: str, slice_devices: int = 0, max_loop_steps: int = 1) -> CollectiveBytes:
    """Counts the bytes that a program's collectives send.

    An all-gather of n shards to S bytes sends S (n-1)/n per device, a reduce-scatter the same, an
    all-reduce twice that: as ring algorithms do, which send the least. `slice_devices`: devices of
    a slice, 0 with one slice. A loop of unknown trip count counts `max_loop_steps` times.

    Raises:
        Unreadable: device groups in an unknown format.
    """
    entry, computations = _parse(text, slice_devices)
    by_channel: dict[str, tuple[int, _Collective]] = {}

    def visit(name: str, times: int) -> None:
        computation = computations[name]
        for channel, collective in computation.collectives.items():
            if channel not in by_channel or by_channel[channel][0] < times:
                by_channel[channel] = (times, collective)
        for called, trip_count in computation.calls:
            visit(called, times * (max_loop_steps if trip_count is None else trip_count))

    visit(entry, 1)
    within: dict[str, float] = defaultdict(float)
    across = 0.0
    for times, (kind, size, across_slices) in by_channel.values():
        if across_slices:
            across += times * size
        else:
            within[kind] += times * size
    return CollectiveBytes(dict(within), across, sum(times for times, _ in by_channel.values()))


def _parse(text: str, slice_devices: int) -> tuple[str, dict[str, _Computation]]:
    lines = dict(_computations(text))
    entry = next(name for name in lines if name.startswith("ENTRY "))
    bodies = {name.removeprefix("ENTRY "): body for name, body in lines.items()}
    computations = {}
    for name, body in bodies.items():
        computations[name] = computation = _Computation({}, [])
        for line in body:
            if match := _LINE.match(line):
                _add(computation, name, *match.groups(), line, bodies, slice_devices)
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


def _add(computation, name, shape, op, rest, line, bodies, slice_devices) -> None:
    """Adds an instruction to its computation, if it is a collective or calls others."""
    kind = op.removesuffix("-start")
    if kind in KINDS and not op.endswith("-done"):
        channel = re.search(r"channel_id=(\d+)", line)
        key = channel.group(1) if channel else f"{name} {len(computation.collectives)}"
        computation.collectives[key] = _collective(kind, op, shape, line, slice_devices)
    elif op == "while":
        body = re.search(r"body=%?([\w.\-]+)", line).group(1)
        condition = re.search(r"condition=%?([\w.\-]+)", line).group(1)
        computation.calls.append((body, _trip_count(line, bodies[condition])))
    else:
        for names in _CALLED.findall(line):
            called = (name.strip(" %") for name in names.split(","))
            computation.calls.extend((name, 1) for name in called if name in bodies)


def _collective(kind: str, op: str, shape: str, line: str, slice_devices: int) -> _Collective:
    groups = _groups(kind, line)
    n = groups.shape[1] if groups.size else 1
    size = sum(_size(*match) for match in _ARRAY.findall(shape))
    if op == "all-gather-start":  # shape is (shard, whole)
        size *= n / (n + 1)
    if op == "collective-permute-start":  # (from, to, and two numbers)
        size = max(_size(*match) for match in _ARRAY.findall(shape))
    share = (n - 1) / n if n else 0.0
    sent = {
        "all-gather": size * share,
        "all-reduce": 2 * size * share,
        "reduce-scatter": size * (n - 1),  # shape is the shard
        "all-to-all": size * share,
        "collective-permute": size,
    }[kind]
    slices = groups // slice_devices if slice_devices else np.zeros_like(groups)
    return _Collective(kind, sent, bool((slices != slices[:, :1]).any()))


def _groups(kind: str, line: str) -> np.ndarray:
    """Device groups, one per row; no rows: one group of all devices."""
    if kind == "collective-permute":
        return _braces(re.search(r"source_target_pairs=\{(.*?\})\}", line).group(1))
    text = line.partition("replica_groups=")[2]
    if match := re.match(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        shape, dims, order = ([int(n) for n in g.split(",")] if g else None for g in match.groups())
        return np.arange(np.prod(dims)).reshape(dims).transpose(order).reshape(shape)
    if match := re.match(r"mesh\[([^\]]*)\] \{([^}]*)\}", text):
        sizes = {name: int(n) for name, n in re.findall(r"'(\w+)'=(\d+)", match.group(1))}
        along = [part.strip(" '") for part in match.group(2).split(",")]
        if set(along) <= set(sizes):
            grid = np.arange(np.prod(list(sizes.values()))).reshape(list(sizes.values()))
            last = [list(sizes).index(name) for name in along]
            grid = np.moveaxis(grid, last, range(-len(last), 0))
            return grid.reshape(-1, np.prod([sizes[name] for name in along]))
    if match := re.match(r"\{(\{.*?\})\}", text):
        return _braces(match.group(1))
    raise Unreadable(f"a {kind} of groups in an unknown form: {text[:60]}")


def _braces(text: str) -> np.ndarray:
    return np.array([[int(n) for n in g.split(",")] for g in re.findall(r"\{([\d,]+)\}", text)])


def _size(dtype: str, dims: str) -> float:
    return BYTES[dtype] * float(np.prod([int(n) for n in dims.split(",") if n] or [1]))


def _trip_count(line: str, condition: list[str]) -> int | None:
    """Trip count of a loop: its annotation, or the constant its counter is compared with."""
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


def out_of_memory(error: Exception) -> tuple[float, float] | None:
    """Bytes required and available, if `error` is the compiler's out-of-memory error; else None."""
    match = _OOM.search(str(error))
    if not match:
        return None
    required, unit, available, available_unit = match.groups()
    return float(required) * _UNIT[unit], float(available) * _UNIT[available_unit]
