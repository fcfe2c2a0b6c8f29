"""A config on a slice: its programs one after another, what each needs, what all need together."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from mmcot_jax import rules, stages
from mmcot_jax.plan import topology
from mmcot_jax.plan.chips import GIB, Chip
from mmcot_jax.plan.measure import SPARE, Need, measure
from mmcot_jax.plan.programs import Program, programs


class Slice(NamedTuple):
    """What is planned for."""

    name: str
    devices: list[jax.Device]
    chip: Chip
    slices: int

    @classmethod
    def of(cls, name: str, slices: int) -> "Slice":
        """A topology, some times.

        Raises:
            ValueError: no such topology.
        """
        return cls(name, topology.devices(name, slices), topology.chip(name), slices)

    @property
    def each(self) -> int:
        """Devices of a slice; 0 where there is one slice."""
        return len(self.devices) // self.slices if self.slices > 1 else 0


def needs(c: ConfigDict, slice_: Slice, names: Sequence[str] = ()) -> Iterator[Need]:
    """What each program of a config needs, as it gets known.

    Raises:
        ValueError: a mesh that does not fit the slice, rows that it does not share evenly, or a
            program that the config does not run.
    """
    found = list(planned(c, slice_))
    there = [program.name for program, _ in found]
    if unknown := [name for name in names if name not in there]:
        raise ValueError(f"there is no program {', '.join(unknown)}; there are {', '.join(there)}")
    for program, decoder in found:
        if not names or program.name in names:
            yield measure(program, slice_.chip, decoder, slice_.each)


def planned(c: ConfigDict, slice_: Slice) -> Iterator[tuple[Program, float]]:
    """A config's programs on a slice, each with the bytes of the decoder that a device reads."""
    stages.check(c)
    mesh, rollout = stages.make_meshes(c, slice_.devices)
    stages.check_batches(c, mesh, rollout)
    whole = decoder_bytes(c)
    for program in programs(c, mesh, rollout, slice_.chip.hbm):
        yield program, whole / program.mesh.shape["tensor"]


def decoder_bytes(c: ConfigDict) -> int:
    """Of what every token passes: all but the embedding it is looked up in."""
    d = c.model.decoder
    head_dim = d.get("head_dim", 0) or d.width // d.heads
    attention = 2 * d.width * head_dim * (d.heads + d.kv_heads)
    layer = attention + 3 * d.width * d.mlp
    return (d.layers * layer + d.vocab * d.width) * jax.numpy.dtype(
        d.get("dtype", "float32")
    ).itemsize


COLUMNS = "{:<14} {:>8}  {:>6} {:>9} {:>9} {:>10} {:>22}  {}"
HEADINGS = ("program", "mesh", "peak", "sent", "TFLOP", "bound", "of which", "verdict")


def show(need: Need, first: bool = False, note: str = "") -> None:
    """One line: GiB, GiB, 10^12 operations and seconds, all per device; a note ends it."""
    if first:
        print(COLUMNS.format(*HEADINGS))
    b = need.bound
    network = "?" if b.network is None else f"{b.network:.2g}"
    print(
        COLUMNS.format(
            need.program,
            "x".join(map(str, need.mesh)),
            "-" if need.peak is None else f"{need.peak / GIB:.2f}",
            "?" if need.sent is None else f"{need.sent.total / GIB:.2f}",
            f"{need.flops / 1e12:.4g}",
            f">= {b.seconds:.3g} s",
            f"{b.compute:.2g} / {b.memory:.2g} / {network}",
            need.verdict + "".join(f" ({x})" for x in (note, need.note) if x),
        ),
        flush=True,
    )


def conclude(needs: Sequence[Need], slice_: Slice) -> None:
    """Whether all of it fits, in one line."""
    print(
        "per device: GiB at its worst moment, GiB sent, operations; bound: by compute / memory / "
        "network at the chip's public rates, no run is faster"
    )
    where = f"{slice_.slices} x {slice_.name}" if slice_.slices > 1 else slice_.name
    worst = min(needs, key=lambda need: need.spare)
    if worst.over:
        print(
            f"does not fit {where}: {worst.program} is {worst.over / GIB:.2f} GiB over the "
            f"{worst.budget / GIB:.2f} GiB of a device"
        )
    else:
        few = "" if worst.fits else f", less than the {SPARE:.0%} that a plan keeps"
        print(f"fits {where}: {worst.program} leaves {worst.spare:.0%}{few}")


def plain(c: ConfigDict, slice_: Slice, needs: Sequence[Need]) -> dict[str, Any]:
    """For JSON: bytes, operations and seconds, per device."""
    return {
        "topology": slice_.name,
        "slices": slice_.slices,
        "devices": len(slice_.devices),
        "fits": all(need.fits for need in needs),
        "programs": [
            {
                "program": need.program,
                "mesh": dict(zip(rules.AXES, need.mesh, strict=True)),
                "peak_bytes": need.peak,
                "budget_bytes": need.budget,
                "over_bytes": need.over,
                "flops": need.flops,
                "sent_bytes": need.sent and need.sent.within | {"across_slices": need.sent.across},
                "collectives": need.sent and need.sent.times,
                "bound_s": need.bound._asdict() | {"least": need.bound.seconds},
                "compile_s": round(need.compile_s, 1),
                "verdict": need.verdict,
            }
            for need in needs
        ],
    }
