"""Counts the bytes that a compiled program reads from a device's memory (HBM), from its HLO text.

Each instruction reads its operands once, each iteration of a loop anew. Of an operand that a fusion
only slices the slices count, such as one layer of stacked weights or the used slots of a cache; a
buffer that is updated in place is not read. Arrays that the compiler placed on the chip (VMEM)
do not count, nor does the padding of tiles, so the sum is a lower bound of what is read.

The compiler's own `cost_analysis` is of no use here: it counts each loop body once, and writes and
on-chip arrays with the rest.
"""

import re

from mmcot_jax.plan.hlo import Instruction, Module, array_bytes, called_by

FREE = (
    "parameter", "constant", "iota", "tuple", "get-tuple-element", "bitcast", "while", "call",
    "conditional", "after-all", "opt-barrier", "partition-id", "replica-id", "async-start",
)  # fmt: skip
"""Operations that read nothing themselves; what they call is counted there."""
SLICES = ("dynamic-slice", "slice", "gather")
ALIASES = ("bitcast", "reshape", "transpose", "get-tuple-element")
"""Operations within a fusion that pass an operand on, as does one whose output is its operand's
buffer: another tiling of it, for example."""


def bytes_read(module: Module) -> float:
    """Bytes that one device reads in one run."""
    total = 0.0
    for name, times in module.times.items():
        if name not in module.inner:
            shapes = {line.name: line.shape for line in module.computations[name]}
            lines = module.computations[name]
            total += times * sum((_read(line, shapes, module) for line in lines), 0.0)
    return total


def _read(line: Instruction, shapes: dict[str, str], module: Module) -> float:
    if line.op in FREE or line.op.endswith("-done"):
        return 0.0
    operands = _operands(line)
    if line.op == "fusion":
        (called,) = called_by(line, module.computations)
        used = (
            _used(number, called, module)[0]
            for number, name in enumerate(operands)
            if _in_hbm(shapes[name])
        )
        return sum(used, 0.0)
    if line.op in SLICES:
        operands, sliced = operands[1:], _in_hbm(shapes[operands[0]])
        own = sum(array_bytes(line.shape), 0.0) if sliced else 0.0
    elif line.op == "dynamic-update-slice":
        operands, own = operands[1:], 0.0
    else:
        own = 0.0
    read = (sum(array_bytes(shapes[name])) for name in operands if _in_hbm(shapes[name]))
    return sum(read, own)


def _used(number: int, name: str, module: Module) -> tuple[float, bool]:
    """Bytes that a fusion reads of an operand; True if it returns the operand as it is."""
    lines = module.computations[name]
    whole = next(
        line for line in lines if line.op == "parameter" and line.rest.startswith(f"{number})")
    )
    names, most, read = {whole.name}, sum(array_bytes(whole.shape), 0.0), 0.0
    for line in lines:
        places = [place for place, operand in enumerate(_operands(line)) if operand in names]
        if not places:
            continue
        if line.op in ALIASES or "output_to_operand_aliasing" in line.rest:
            names.add(line.name)
        elif line.op == "fusion":
            (called,) = called_by(line, module.computations)
            for place in places:
                part, same = _used(place, called, module)
                read += part
                if same:
                    names.add(line.name)
        elif line.op in SLICES and places == [0]:
            read += sum(array_bytes(line.shape))
        elif line.op != "dynamic-update-slice" or places != [0]:
            read = most
    return min(read, most), lines[-1].name in names


def _operands(line: Instruction) -> list[str]:
    # the closing parenthesis of the operands is the first: they are names
    return re.findall(r"%([\w.\-]+)", line.rest.partition(")")[0])


def _in_hbm(shape: str) -> bool:
    """False for arrays on the chip: their layout names another memory space than 0."""
    return not re.search(r"S\([1-9]\d*\)", shape)
