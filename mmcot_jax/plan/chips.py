"""Published rates of TPU chips, and the lower bound of a program's time (roofline) from them.

Per JAX device; a TPU7x chip is two devices. Sources: cloud.google.com/tpu/docs/{v4, v5e, v5p, v6e,
tpu7x}, system architecture, per chip: peak bfloat16, HBM bandwidth, inter-chip interconnect in one
direction, data-center network (the pod's divided by its chips). `hbm` is what the TPU compiler
allows a program, as its out-of-memory errors state it.
"""

from typing import NamedTuple

GIB = 2**30


class Chip(NamedTuple):
    """One device."""

    flops: float
    """Per second, bfloat16."""
    hbm: float
    """Bytes a program may use."""
    hbm_rate: float
    """Bytes per second."""
    ici_rate: float
    """Bytes per second sent within the slice, over all links."""
    dcn_rate: float | None
    """Bytes per second sent to other slices; None: not published."""


CHIPS = {
    "v4": Chip(275e12, 30.75 * GIB, 1228e9, 300e9, None),
    "v5e": Chip(197e12, 15.75 * GIB, 819e9, 200e9, 3.125e9),
    "v5p": Chip(459e12, 95.73 * GIB, 2765e9, 600e9, 6.25e9),
    "v6e": Chip(918e12, 31.24 * GIB, 1638e9, 400e9, 12.5e9),
    "tpu7x": Chip(1153.5e12, 94.74 * GIB, 3690e9, 300e9, 6.25e9),
}


class Bound(NamedTuple):
    """Lower bounds of a program's seconds, by resource; None: unknown."""

    compute: float
    memory: float
    network: float | None

    @property
    def seconds(self) -> float:
        """The largest bound: the time if all three overlap perfectly."""
        return max(self.compute, self.memory, self.network or 0.0)


def bound(chip: Chip, flops: float, read: float, ici: float | None, dcn: float | None) -> Bound:
    """Bounds from the FLOPs, bytes read and bytes sent of one device."""
    network = None if ici is None else ici / chip.ici_rate
    if dcn and chip.dcn_rate:
        network = max(network or 0.0, dcn / chip.dcn_rate)
    return Bound(flops / chip.flops, read / chip.hbm_rate, network)
