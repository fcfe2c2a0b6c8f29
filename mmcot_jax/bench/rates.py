"""Rates of the devices that are here: published peaks, and what a copy and a product reach."""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmcot_jax.plan.chips import CHIPS

PEAKS = {
    # dense bfloat16 (T4, V100: float16), sums in float32; vendors' data sheets
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "GH200": 989e12,
    "H800": 989e12,
    "H20": 148e12,
    "A100": 312e12,
    "A800": 312e12,
    "A40": 149.7e12,
    "A10G": 70e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L4": 121e12,
    "T4": 65e12,
    "V100": 125e12,
    "RTX 5090": 209.5e12,
    "RTX 4090": 165.2e12,
    "RTX 4080": 97.5e12,
    "RTX 3090": 71e12,
    "RTX A6000": 154.8e12,
    "TPU v4": CHIPS["v4"].flops,
    "TPU v5 lite": CHIPS["v5e"].flops,
    "TPU v5e": CHIPS["v5e"].flops,
    "TPU v5": CHIPS["v5p"].flops,
    "TPU v5p": CHIPS["v5p"].flops,
    "TPU v6 lite": CHIPS["v6e"].flops,
    "TPU v6e": CHIPS["v6e"].flops,
    "TPU7x": CHIPS["tpu7x"].flops,
}
"""FLOPs per second of a JAX device, by a part of its `device_kind`."""
PUBLISHED, MEASURED = "published", "measured by a matrix product"


class Rates(NamedTuple):
    """Rates of one device."""

    flops: float
    """Per second."""
    flops_from: str
    """`PUBLISHED` or `MEASURED`."""
    memory: float
    """Bytes per second, read and written by a copy."""


def measure(device: jax.Device) -> Rates:
    """Returns the rates of a device; its peak is measured if `PEAKS` does not have it."""
    found = peak(device.device_kind)
    flops = _product_rate(device) if found is None else found
    return Rates(flops, MEASURED if found is None else PUBLISHED, _copy_rate(device))


def peak(kind: str) -> float | None:
    """Returns the published peak of a `device_kind`; None if it is not in `PEAKS`."""
    words = f" {kind.replace('-', ' ')} "
    names = [name for name in PEAKS if f" {name} " in words]
    return PEAKS[max(names, key=len)] if names else None


def _copy_rate(device: jax.Device) -> float:
    size = 2**25 if device.platform == "cpu" else 2**28
    x = jax.device_put(jnp.zeros(size, jnp.float32), device)
    return 2 * x.nbytes / _fastest(partial(jax.jit(lambda x: x + 1), x))


def _product_rate(device: jax.Device) -> float:
    n, dtype = (1024, jnp.float32) if device.platform == "cpu" else (8192, jnp.bfloat16)
    x = jax.device_put(jnp.ones((n, n), dtype), device)
    return 2 * n**3 / _fastest(partial(jax.jit(jnp.dot), x, x))


def _fastest(call: Callable[[], jax.Array], times: int = 7, calls: int = 5) -> float:
    """Returns the least seconds of a call, after one that compiles.

    `calls` are given to the device at once: while one runs there, the next is prepared here.
    """
    jax.block_until_ready(call())
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        for _ in range(calls):
            last = call()
        jax.block_until_ready(last)
        seconds.append((time.perf_counter() - began) / calls)
    return min(seconds)
