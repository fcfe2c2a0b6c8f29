"""A program, traced and compiled: what it needs of a device."""

import time
from typing import NamedTuple

import jax

from mmcot_jax.plan import hlo
from mmcot_jax.plan.chips import GIB, Bound, Chip, bound
from mmcot_jax.plan.flops import flops
from mmcot_jax.plan.programs import Program

SPARE = 0.10
"""Of a device's memory, left free by a plan that is called one."""


class Need(NamedTuple):
    """What one program needs, per device."""

    program: str
    mesh: tuple[int, ...]
    peak: float | None
    """Bytes at the program's worst moment, with all that lives beside it; None: not compiled."""
    budget: float
    over: float
    """Bytes too many; 0 where it fits."""
    flops: float
    """Of one device, if all do the same."""
    sent: hlo.Sent | None
    """None: the compiler gives no text."""
    bound: Bound
    compile_s: float
    note: str = ""

    @property
    def spare(self) -> float:
        """Share of the budget left; negative where it does not fit."""
        return -self.over / self.budget if self.peak is None else 1 - self.peak / self.budget

    @property
    def fits(self) -> bool:
        """With `SPARE` to spare."""
        return self.spare >= SPARE

    @property
    def verdict(self) -> str:
        """In words."""
        if self.over:
            return f"does not fit: {self.over / GIB:.2f} GiB over {self.budget / GIB:.2f}"
        if not self.fits:
            return f"tight: {self.spare:.0%} to spare"
        return f"fits, {self.spare:.0%} to spare"


def measure(program: Program, chip: Chip, decoder_bytes: float, slice_devices: int = 0) -> Need:
    """Traces and compiles a program for its mesh.

    `decoder_bytes` are those a device reads to pass a token through the decoder once.
    """
    began = time.monotonic()
    with jax.set_mesh(program.mesh):
        traced = program.trace()
        count = flops(traced.jaxpr, program.max_loop_steps) / program.mesh.size
        lowered = traced.lower()
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            short = hlo.shortage(error)
            if short is None:
                raise
            return _refused(program, chip, count, short, began)
    memory = compiled.memory_analysis()
    beside = max(program.live_bytes - memory.argument_size_in_bytes, 0)
    peak = memory.peak_memory_in_bytes + beside
    moved, note = None, ""
    try:
        moved = hlo.sent(
            compiled.as_text(), slice_devices=slice_devices, unknown=program.max_loop_steps
        )
    except (jax.errors.JaxRuntimeError, hlo.Unreadable) as error:
        note = f"bytes sent unknown: {str(error).splitlines()[0][:120]}"
    within = moved and sum(moved.within.values())
    read = memory.argument_size_in_bytes + memory.output_size_in_bytes
    read = max(read, program.weight_reads * decoder_bytes + program.extra_bytes_read)
    return Need(
        program.name,
        tuple(program.mesh.shape.values()),
        peak,
        chip.hbm,
        max(peak - chip.hbm, 0.0),
        count,
        moved,
        bound(chip, count, read, within, moved and moved.across),
        time.monotonic() - began,
        note,
    )


def _refused(program: Program, chip: Chip, count: float, short, began: float) -> Need:
    wanted, there = short
    return Need(
        program.name,
        tuple(program.mesh.shape.values()),
        None,
        there,
        wanted - there,
        count,
        None,
        bound(chip, count, 0.0, None, None),
        time.monotonic() - began,
    )
