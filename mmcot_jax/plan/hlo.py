"""Reads compiled programs (HLO text): the bytes their collectives send, and out-of-memory errors.

The text has one computation after another, an instruction per line. A collective inside loops
counts once per iteration. Of some loops the text has no trip count, because they may end early;
`loop_steps` has theirs in the order of the program, or one number for all.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

BYTES = {
    "pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "f8e4m3fn": 1, "f8e5m2": 1,
    "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4,
    "s64": 8, "u64": 8, "f64": 8, "c64": 8,
}  # fmt: skip
REDUCTIONS = (
    "reduce", "all-reduce", "all-reduce-start", "reduce-scatter", "reduce-window", "sort", "map",
    "scatter", "select-and-scatter",
)  # fmt: skip
"""Operations that apply a computation to single elements."""
KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
"""Collectives within a slice; those between slices are compiled to `send` and `recv`."""

_ARRAY = re.compile(rf"\b({'|'.join(BYTES)})\[([0-9,]*)\]")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{\s*$")
_LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_CALLED = re.compile(
    r"(?:calls|to_apply|called_computations|branch_computations|true_computation|"
    r"false_computation)=\{?([%\w.\-, ]+)\}?"
)
_OOM = re.compile(
    r"CompileTimeHbmOom.*?\((\d+(?:\.\d+)?)([KMG])\).*?\((\d+(?:\.\d+)?)([KMG])\)", re.S
)
_TRANSFER = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
_SLICES = re.compile(r'_xla_megascale_target="\{([\d,]+)\}')
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
    """Collectives run, and transfers to other slices."""

    @property
    def total(self) -> float:
        """All bytes."""
        return sum(self.within_slice.values(), self.across_slices)


class Instruction(NamedTuple):
    """One line of a computation."""

    name: str
    shape: str
    """With layout, as in the text."""
    op: str
    rest: str
    """What follows the opening parenthesis of the operands."""


class Module(NamedTuple):
    """A compiled program."""

    computations: dict[str, list[Instruction]]
    times: dict[str, int]
    """How often each of them runs."""
    inner: set[str]
    """Those that run inside one instruction: of fusions and reductions."""


def collective_bytes(module: Module, slices: int = 1) -> CollectiveBytes:
    """Counts the bytes that a program's collectives send.

    An all-gather of n shards to S bytes sends S (n-1)/n per device, a reduce-scatter the same, an
    all-reduce twice that: as ring algorithms do, which send the least. `slices` are those of the
    program; they all take part in a transfer whose text does not say which do.

    Raises:
        Unreadable: device groups or a transfer in an unknown format.
    """
    # by channel: an asynchronous collective is in the text twice, as its start and as its body
    by_channel: dict[str, tuple[int, str, float]] = {}
    across, transfers = 0.0, 0
    for name, times in module.times.items():
        for number, line in enumerate(module.computations[name]):
            if line.op == "send" and (transfer := _TRANSFER.search(line.rest)):
                across += times * _sent_to_slices(transfer.group(1), line, slices)
                transfers += times
            if (kind := line.op.removesuffix("-start")) not in KINDS:
                continue
            channel = re.search(r"channel_id=(\d+)", line.rest)
            key = channel.group(1) if channel else f"{name} {number}"
            if key not in by_channel or by_channel[key][0] < times:
                by_channel[key] = times, kind, _sent(kind, line)
    within: dict[str, float] = defaultdict(float)
    for times, kind, size in by_channel.values():
        within[kind] += times * size
    count = sum(times for times, _, _ in by_channel.values())
    return CollectiveBytes(dict(within), across, count + transfers)


def parse(text: str, loop_steps: Sequence[int] = (1,)) -> Module:
    """Parses a program and counts how often each of its computations runs.

    Raises:
        Unreadable: `loop_steps` are several, and not as many as the loops without a trip count.
    """
    lines = dict(_computations(text))
    entry = next(name for name in lines if name.startswith("ENTRY ")).removeprefix("ENTRY ")
    computations = {
        name.removeprefix("ENTRY "): [
            Instruction(*match.groups()) for row in body if (match := _LINE.match(row))
        ]
        for name, body in lines.items()
    }
    times: dict[str, int] = defaultdict(int)
    inner: set[str] = set()
    unknown: dict[str, int] = {}  # loops without a trip count, numbered in order

    def steps(line: Instruction, condition: str) -> int:
        count = _trip_count(line.rest, computations[condition])
        if count is not None:
            return count
        number = unknown.setdefault(line.name, len(unknown))
        return loop_steps[min(number, len(loop_steps) - 1)]

    def visit(name: str, count: int) -> None:
        times[name] += count
        for line in computations[name]:
            if line.op == "while":
                body, condition = (
                    re.search(rf"{part}=%?([\w.\-]+)", line.rest).group(1)
                    for part in ("body", "condition")
                )
                repeated = count * steps(line, condition)
                visit(condition, repeated)
                visit(body, repeated)
                continue
            for called in called_by(line, computations):
                if line.op == "fusion" or name in inner or line.op in REDUCTIONS:
                    inner.add(called)
                visit(called, count)

    visit(entry, 1)
    if len(loop_steps) > 1 and len(unknown) != len(loop_steps):
        raise Unreadable(f"{len(unknown)} loops that may end early, expected {len(loop_steps)}")
    return Module(computations, dict(times), inner - {entry})


def called_by(line: Instruction, computations: dict[str, list[Instruction]]) -> list[str]:
    """The computations that an instruction calls, but not those of a loop."""
    names = (name.strip(" %") for found in _CALLED.findall(line.rest) for name in found.split(","))
    return [name for name in names if name in computations]


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
    name, body = "", []
    for line in text.splitlines():
        if not line.startswith((" ", "}")) and (match := _HEAD.match(line)):
            name, body = (match.group(1) or "") + match.group(2), []
        elif line.rstrip() == "}" and name:
            yield name, body
            name = ""
        elif line.startswith(" ") and name:
            body.append(line)
        elif body and name:  # a kernel's metadata goes on for some lines, which may begin with "}"
            body[-1] += line


def _sent_to_slices(kind: str, line: Instruction, slices: int) -> float:
    """Bytes of a transfer that the runtime of several slices makes, from what it is given."""
    named = _SLICES.search(line.rest)
    n = named.group(1).count(",") + 1 if named else slices
    size = array_bytes(line.shape)[0]  # shape is (given, and two more)
    sent = {
        "ALL_GATHER": size * (n - 1),  # given is the shard
        "ALL_REDUCE": 2 * size * (n - 1) / n,
        "REDUCE_SCATTER": size * (n - 1) / n,
        "ALL_TO_ALL": size * (n - 1) / n,
        "ONE_TO_ONE": size,
    }
    if kind not in sent:
        raise Unreadable(f"a transfer between slices of an unknown kind: {kind}")
    return sent[kind]


def _sent(kind: str, line: Instruction) -> float:
    """Bytes of a collective within a slice, from the shape of its result."""
    groups = _groups(kind, line.rest)
    n = groups.shape[1] if groups.size else 1
    sizes = array_bytes(line.shape)
    size = sum(sizes)
    if line.op == "all-gather-start":  # shape is (shard, whole)
        size *= n / (n + 1)
    if line.op == "collective-permute-start":  # (from, to, and two numbers)
        size = max(sizes)
    share = (n - 1) / n if n else 0.0
    return {
        "all-gather": size * share,
        "all-reduce": 2 * size * share,
        "reduce-scatter": size * (n - 1),  # shape is the shard
        "all-to-all": size * share,
        "collective-permute": size,
    }[kind]


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


def array_bytes(shape: str) -> list[float]:
    """Bytes of each array of a shape: several of a tuple."""
    return [
        BYTES[dtype] * float(np.prod([int(n) for n in dims.split(",") if n] or [1]))
        for dtype, dims in _ARRAY.findall(shape)
    ]


def _trip_count(loop: str, condition: list[Instruction]) -> int | None:
    """Iterations of a loop; None if they depend on data."""
    if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop):
        return int(known.group(1))
    numbers = {
        line.name: match.group(1)
        for line in condition
        if line.op == "constant" and (match := re.match(r"(\d+)\)", line.rest))
    }
    last = condition[-1]
    compared = re.match(r"%?[\w.\-]+, %?([\w.\-]+)\), direction=LT", last.rest)
    if last.op == "compare" and compared and compared.group(1) in numbers:
        return int(numbers[compared.group(1)])
    return None


def out_of_memory(error: Exception) -> tuple[float, float] | None:
    """Bytes required and available, if `error` is the compiler's out-of-memory error; else None."""
    match = _OOM.search(str(error))
    if not match:
        return None
    required, unit, available, available_unit = match.groups()
    return float(required) * _UNIT[unit], float(available) * _UNIT[available_unit]
