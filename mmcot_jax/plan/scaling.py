"""Estimates a GRPO step on several slices, with a batch that grows with the devices.

Prompts, rows and the data axis grow in proportion (weak scaling), so a device has the same rows and
micro-batches everywhere; what changes is what it sends.
"""

import re
from collections.abc import Sequence

from ml_collections import ConfigDict

from mmcot_jax.plan import report
from mmcot_jax.plan.chips import GIB
from mmcot_jax.plan.measure import Estimate
from mmcot_jax.plan.sweep import with_settings

COLUMNS = "{:<14} {:>7} {:>9} {:>11} {:>7} {:>9} {:>9} {:>9}"
HEADINGS = ("slices", "devices", "prompts", "step", "peak", "read", "sent", "across")


def slices(text: str) -> list[report.Slice]:
    """Parses slices such as "2*v5e:4x4,v5e:16x16".

    Raises:
        ValueError: no such topology, or the TPU compiler is not installed.
    """
    return [
        report.Slice.of(name, int(count or 1))
        for part in text.split(",")
        for count, name in re.findall(r"^(?:(\d+)\*)?(.+)$", part)
    ]


def scaled(c: ConfigDict, factor: int) -> ConfigDict:
    """The config for `factor` times as many devices."""
    settings = {
        "grpo.prompts_per_step": c.grpo.prompts_per_step * factor,
        "sft.batch_size": c.sft.batch_size * factor,
        "eval.batch_size": c.eval.batch_size * factor,
        "data.tokenize_batch": c.data.tokenize_batch * factor,
    }
    if c.mesh.data > 0:
        settings["mesh.data"] = c.mesh.data * factor
    return with_settings(c, settings)


def weak_scaling(c: ConfigDict, found: Sequence[report.Slice], names: Sequence[str] = ()) -> int:
    """Prints a line per slice; returns 1 if one does not fit.

    Raises:
        ValueError: as `report.estimates`, or devices that are no multiple of the first slice's.
    """
    print(COLUMNS.format(*HEADINGS))
    over = False
    for slice_ in found:
        factor, rest = divmod(len(slice_.devices), len(found[0].devices))
        if rest:
            raise ValueError(
                f"{slice_.name} has {len(slice_.devices)} devices, no multiple of the "
                f"{len(found[0].devices)} of {found[0].name}; name the smallest slice first"
            )
        changed = scaled(c, factor)
        step = [p.name for p, _ in report.planned(changed, slice_) if p.stage == "grpo"]
        estimates = list(report.estimates(changed, slice_, names or step))
        _print(slice_, changed, estimates)
        over = over or any(e.over_bytes for e in estimates)
    print(
        "a GRPO step: least seconds by the chip's public rates; per device: GiB at the worst "
        "moment, read, sent, and sent to other slices"
    )
    return int(over)


def _print(slice_: report.Slice, c: ConfigDict, estimates: Sequence[Estimate]) -> None:
    peaks = [e.budget + e.over_bytes if e.peak is None else e.peak for e in estimates]
    sent = [e.sent for e in estimates if e.sent]
    known = len(sent) == len(estimates)
    print(
        COLUMNS.format(
            f"{slice_.slices} x {slice_.name}" if slice_.slices > 1 else slice_.name,
            len(slice_.devices),
            c.grpo.prompts_per_step,
            f">= {report.grpo_seconds(estimates):.3g} s",
            f"{max(peaks) / GIB:.2f}",
            f"{sum(e.read for e in estimates) / GIB:.1f}",
            f"{sum(s.total for s in sent) / GIB:.2f}" if known else "?",
            f"{sum(s.across_slices for s in sent) / GIB:.3g}" if known else "?",
        ),
        flush=True,
    )
