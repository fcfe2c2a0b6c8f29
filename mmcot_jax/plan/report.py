"""Estimates the programs of a config on a slice, and prints them with a verdict."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from mmcot_jax import rules, stages
from mmcot_jax.plan import topology
from mmcot_jax.plan.chips import GIB, Chip
from mmcot_jax.plan.measure import MIN_HEADROOM, Estimate, measure
from mmcot_jax.plan.programs import Program, programs


class Slice(NamedTuple):
    """One or several slices of a TPU topology."""

    name: str
    devices: list[jax.Device]
    chip: Chip
    slices: int

    @classmethod
    def of(cls, name: str, slices: int = 1) -> "Slice":
        """`slices` slices of the topology `name`.

        Raises:
            ValueError: as `topology.devices`.
        """
        return cls(name, topology.devices(name, slices), topology.chip(name), slices)


def estimates(c: ConfigDict, slice_: Slice, names: Sequence[str] = ()) -> Iterator[Estimate]:
    """Estimates the programs of a config, all or by name, one after another.

    Raises:
        ValueError: a mesh that does not fit the slice or does not divide a batch evenly, or a
            program that the config does not run.
    """
    found = list(planned(c, slice_))
    known = [program.name for program, _ in found]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"there is no program {', '.join(unknown)}; there are {', '.join(known)}")
    for program, decoder in found:
        if not names or program.name in names:
            yield measure(program, slice_.chip, decoder, slice_.slices)


def planned(c: ConfigDict, slice_: Slice) -> Iterator[tuple[Program, float]]:
    """A config's programs on a slice, each with the bytes of the decoder that one device reads."""
    stages.check(c)
    mesh, rollout = stages.make_meshes(c, slice_.devices)
    stages.check_batches(c, mesh, rollout)
    total = decoder_bytes(c)
    for program in programs(c, mesh, rollout, slice_.chip.hbm):
        yield program, total / program.mesh.shape["tensor"]


def decoder_bytes(c: ConfigDict) -> int:
    """Bytes of the decoder's weights that every token uses: all but the input embedding."""
    d = c.model.decoder
    attention = 2 * d.width * (d.width // d.heads) * (d.heads + d.kv_heads)
    layer = attention + 3 * d.width * d.mlp
    itemsize = jax.numpy.dtype(d.get("base_dtype") or d.get("dtype", "float32")).itemsize
    return (d.layers * layer + d.vocab * d.width) * itemsize


def grpo_seconds(estimates: Sequence[Estimate]) -> float:
    """Least seconds of a GRPO step that decodes no picture: its programs run one after another."""
    return sum((e.bound.seconds for e in _step(estimates) if not e.picture_calls), 0.0)


def picture_seconds(estimates: Sequence[Estimate]) -> float:
    """Least seconds in which a GRPO step decodes one picture of each completion."""
    return sum((e.bound.seconds * e.picture_calls for e in _step(estimates)), 0.0)


def _step(estimates: Sequence[Estimate]) -> list[Estimate]:
    return [e for e in estimates if e.stage == "grpo"]


COLUMNS = "{:<14} {:>8}  {:>6} {:>9} {:>9} {:>9} {:>10} {:>22}  {}"
HEADINGS = ("program", "mesh", "peak", "read", "sent", "TFLOP", "bound", "of which", "verdict")


def print_headings() -> None:
    """Prints the names of the columns."""
    print(COLUMNS.format(*HEADINGS))


def print_row(e: Estimate, note: str = "") -> None:
    """Prints a line: GiB (three times), 10^12 operations and seconds, per device, and a note."""
    network = "?" if e.bound.network is None else f"{e.bound.network:.2g}"
    print(
        COLUMNS.format(
            e.program,
            "x".join(map(str, e.mesh)),
            "-" if e.peak is None else f"{e.peak / GIB:.2f}",
            f"{e.read / GIB:.2f}",
            "?" if e.sent is None else f"{e.sent.total / GIB:.2f}",
            f"{e.flops / 1e12:.4g}",
            f">= {e.bound.seconds:.3g} s",
            f"{e.bound.compute:.2g} / {e.bound.memory:.2g} / {network}",
            e.verdict + "".join(f" ({x})" for x in (note, e.note) if x),
        ),
        flush=True,
    )


def print_summary(estimates: Sequence[Estimate], slice_: Slice) -> None:
    """Prints in one line whether all programs fit."""
    print(
        "per device: GiB at its worst moment, GiB read and sent, operations; bound: by compute / "
        "memory / network at the chip's public rates, no run is faster"
    )
    if seconds := grpo_seconds(estimates):
        names = ", ".join(e.program for e in _step(estimates) if not e.picture_calls)
        print(f"a GRPO step takes at least {seconds:.3g} s ({names})")
    if more := picture_seconds(estimates):
        names = ", ".join(
            f"{e.picture_calls} x {e.program}" for e in _step(estimates) if e.picture_calls
        )
        print(
            f"a picture of each completion takes at least {more:.3g} s ({names}), and a step that "
            f"decodes them {seconds + more:.3g} s"
        )
    where = f"{slice_.slices} x {slice_.name}" if slice_.slices > 1 else slice_.name
    worst = min(estimates, key=lambda e: e.headroom)
    if worst.over_bytes:
        print(
            f"does not fit {where}: {worst.program} is {worst.over_bytes / GIB:.2f} GiB over the "
            f"{worst.budget / GIB:.2f} GiB of a device"
        )
    else:
        few = "" if worst.fits else f", less than the {MIN_HEADROOM:.0%} that a plan keeps"
        print(f"fits {where}: {worst.program} leaves {worst.headroom:.0%}{few}")


def to_dict(slice_: Slice, estimates: Sequence[Estimate]) -> dict[str, Any]:
    """The estimates for JSON: bytes, operations and seconds, per device."""
    return {
        "topology": slice_.name,
        "slices": slice_.slices,
        "devices": len(slice_.devices),
        "fits": all(e.fits for e in estimates),
        "grpo_step_s": grpo_seconds(estimates),
        "grpo_pictures_s": picture_seconds(estimates),
        "programs": [
            {
                "program": e.program,
                "mesh": dict(zip(rules.AXES, e.mesh, strict=True)),
                "peak_bytes": e.peak,
                "budget_bytes": e.budget,
                "over_bytes": e.over_bytes,
                "flops": e.flops,
                "read_bytes": e.read,
                "sent_bytes": e.sent
                and e.sent.within_slice | {"across_slices": e.sent.across_slices},
                "collectives": e.sent and e.sent.count,
                "bound_s": e.bound._asdict() | {"least": e.bound.seconds},
                "compile_s": round(e.compile_s, 1),
                "verdict": e.verdict,
            }
            for e in estimates
        ],
    }
