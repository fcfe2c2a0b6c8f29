"""Traces and compiles a program, and estimates what it needs of a device."""

import time
from functools import partial
from typing import NamedTuple

import jax

from mmcot_jax.plan import hlo, reads
from mmcot_jax.plan.chips import GIB, Bound, Chip, bound
from mmcot_jax.plan.flops import flops
from mmcot_jax.plan.programs import Program

MIN_HEADROOM = 0.10
"""Share of a device's memory that a plan leaves free."""


class Estimate(NamedTuple):
    """The needs of one program, per device."""

    program: str
    mesh: tuple[int, ...]
    peak: float | None
    """Peak bytes, residents included; None: out of memory, not compiled."""
    budget: float
    over_bytes: float
    """Bytes above the budget; 0 if it fits."""
    flops: float
    sent: hlo.CollectiveBytes | None
    """None: the compiler gives no HLO text."""
    read: float
    """Bytes read from memory, at least."""
    bound: Bound
    compile_s: float
    note: str = ""
    stage: str = ""
    """Of the config: sft, grpo or eval."""
    picture_calls: int = 0
    """Calls that decode one picture of each completion; 0 if it decodes no pictures."""

    @property
    def headroom(self) -> float:
        """Share of the budget left; negative if it does not fit."""
        return -self.over_bytes / self.budget if self.peak is None else 1 - self.peak / self.budget

    @property
    def fits(self) -> bool:
        """True if at least `MIN_HEADROOM` is left."""
        return self.headroom >= MIN_HEADROOM

    @property
    def verdict(self) -> str:
        """The result in words."""
        if self.over_bytes:
            return f"does not fit: {self.over_bytes / GIB:.2f} GiB over {self.budget / GIB:.2f}"
        if not self.fits:
            return f"tight: {self.headroom:.0%} to spare"
        return f"fits, {self.headroom:.0%} to spare"


def measure(program: Program, chip: Chip, decoder_bytes: float, slices: int = 1) -> Estimate:
    """Traces and compiles a program for its mesh.

    `decoder_bytes` are what a device reads to run the decoder on a token once.
    """
    began = time.monotonic()
    steps = program.loop_steps or (1,)
    mesh = tuple(program.mesh.shape.values())
    named = {"stage": program.stage, "picture_calls": program.picture_calls}
    estimate = partial(Estimate, program.name, mesh, **named)
    with jax.set_mesh(program.mesh):
        traced = program.trace()
        count = flops(traced.jaxpr, steps) / program.mesh.size
        lowered = traced.lower()
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            oom = hlo.out_of_memory(error)
            if oom is None:
                raise
            required, available = oom
            return estimate(
                peak=None,
                budget=available,
                over_bytes=required - available,
                flops=count,
                sent=None,
                read=0.0,
                bound=bound(chip, count, 0.0, None, None),
                compile_s=time.monotonic() - began,
            )
    memory = compiled.memory_analysis()
    residents = max(program.live_bytes - memory.argument_size_in_bytes, 0)
    peak = memory.peak_memory_in_bytes + residents
    # at least; what a loop over tokens reads, the compiled program says
    read = max(
        float(memory.argument_size_in_bytes + memory.output_size_in_bytes),
        program.weight_reads * decoder_bytes + program.extra_bytes_read,
    )
    sent, note = None, ""
    try:
        module = hlo.parse(compiled.as_text(), steps)
        sent = hlo.collective_bytes(module, slices)
        if program.loop_steps:
            read = reads.bytes_read(module)
    except (jax.errors.JaxRuntimeError, hlo.Unreadable) as error:
        note = f"bytes sent unknown, read estimated: {str(error).splitlines()[0][:120]}"
    ici, dcn = (sum(sent.within_slice.values(), 0.0), sent.across_slices) if sent else (None, None)
    return estimate(
        peak=peak,
        budget=chip.hbm,
        over_bytes=max(peak - chip.hbm, 0.0),
        flops=count,
        sent=sent,
        read=read,
        bound=bound(chip, count, read, ici, dcn),
        compile_s=time.monotonic() - began,
        note=note,
    )
