"""The one table of what is split over which axis of the mesh: parameters and activations.

The mesh has the axes "data", "fsdp" and "tensor". An array's axes are written one letter each.
"""

import re
from typing import Any

import jax
from jax.sharding import PartitionSpec

AXES = ("data", "fsdp", "tensor")
ROWS = ("data", "fsdp")
"""Rows of a batch are split over data and fsdp."""

RULES: dict[str, str | tuple[str, ...] | None] = {
    # of parameters
    "l": None,  # stacked layers
    "v": "tensor",  # vocabulary, of logits too
    "d": "fsdp",  # width
    "h": "tensor",  # heads, and the hidden units of an MLP; of activations too
    # of activations
    "b": ROWS,  # rows
    ".": None,
}
"""A letter -> the mesh axis it is split over."""

PARAMS = (
    (r"embed/embedding", "vd"),
    (r"head/kernel", "dv"),
    (r"head/bias", "v"),
    (r"attention/[qkv]/kernel", "ldh"),
    (r"attention/[qkv]/bias", "lh"),
    (r"attention/qkv/kernel", "ld."),  # three in one: no piece of it is whole heads of one
    (r"attention/[qk]_norm/(scale|bias)", "lh."),
    (r"attention/o/kernel", "lhd"),
    (r"mlp/(gate|up)/kernel", "ldh"),
    (r"mlp/down/kernel", "lhd"),
    # a ViT's blocks, and what merges Qwen's patches
    (r"layers/attention/out/kernel", "lhd"),
    (r"layers/fc1/kernel", "ldh"),
    (r"layers/fc2/kernel", "lhd"),
    (r"vision/inner/kernel", "dh"),
    (r"vision/outer/kernel", "hd"),
    # adapters
    (r"(attention/[qkv]|mlp/(gate|up))/a", "ld."),
    (r"(attention/[qkv]|mlp/(gate|up))/b", "l.h"),
    (r"(attention/o|mlp/down)/a", "lh."),
    (r"(attention/o|mlp/down)/b", "l.d"),
    (r"head/a", "d."),
    (r"head/b", ".v"),
)
"""The end of a parameter's path -> the letters of its axes; the first that fits, else whole on
every device: norms, and the VQGAN's convolutions and the Q-Former, megabytes each."""

HEAD = {
    "head/kernel": ".v",
    "head/bias": "v",
    "head/a": "..",
    "head/b": ".v",
    "embed/embedding": "v.",
}
"""The output layer where log-probabilities are taken: the width whole, or each chunk's logits
would be summed over the devices, [B chunk V] in float32. Tied, the embedding is it."""


def letters(path: str, shape: tuple[int, ...]) -> str:
    """What `PARAMS` says of a parameter; "" where it says nothing."""
    for pattern, found in PARAMS:
        if re.search(f"(^|/){pattern}$", path) and len(found) == len(shape):
            return found
    return ""


def spec(letters: str, shape: tuple[int, ...], mesh: Any) -> PartitionSpec:
    """Letters -> mesh axes; an axis that its mesh axes do not divide is whole."""
    pairs = zip((RULES[letter] for letter in letters), shape[: len(letters)], strict=True)
    return PartitionSpec(
        *(axis if axis and n % size(mesh, axis) == 0 else None for axis, n in pairs)
    )


def size(mesh: Any, axis: str | tuple[str, ...]) -> int:
    """Devices along an axis of the mesh, or along several."""
    count = 1
    for name in (axis,) if isinstance(axis, str) else axis:
        count *= mesh.shape[name]
    return count


def constrain(x: jax.Array, letters: str) -> jax.Array:
    """An activation laid out as its letters say, where a mesh is set; trailing axes are whole."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    return jax.lax.with_sharding_constraint(x, spec(letters, x.shape, mesh))
