"""The one table of which array axes are split over which mesh axis: parameters and activations.

The mesh has the axes "data", "fsdp" and "tensor". An array's axes are written one letter each.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import PartitionSpec

from mmcot_jax.quantize import unquantized_path

AXES = ("data", "fsdp", "tensor")
ROWS = ("data", "fsdp")
"""Mesh axes that the rows of a batch are split over."""

WHOLE = ""
"""Replicated on every device, whatever its axes."""

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
"""Letter of an array axis -> the mesh axis that it is split over."""

PARAMS = [
    # the decoder
    (r"embed/embedding", "vd"),
    (r"head/kernel", "dv"),
    (r"attention/[qkv]/kernel", "ldh"),
    (r"attention/[qkv]/bias", "lh"),
    (r"attention/[qk]_norm/(scale|bias)", "lh."),
    (r"attention/o/kernel", "lhd"),
    (r"mlp/(gate|up)/kernel", "ldh"),
    (r"mlp/down/kernel", "lhd"),
    (r"((attention_|mlp_)?norm)/(scale|bias)", WHOLE),
    # adapters
    (r"(attention/[qkv]|mlp/(gate|up))/a", "ld."),
    (r"(attention/[qkv]|mlp/(gate|up))/b", "l.h"),
    (r"(attention/o|mlp/down)/a", "lh."),
    (r"(attention/o|mlp/down)/b", "l.d"),
    (r"head/a", "d."),
    (r"head/b", ".v"),
    # a ViT's blocks, and what merges Qwen's patches
    (r"attention/qkv/kernel", "ld."),  # three in one: no piece of it is whole heads of one
    (r"layers/attention/out/kernel", "lhd"),
    (r"layers/fc1/kernel", "ldh"),
    (r"layers/fc2/kernel", "lhd"),
    (r"vision/inner/kernel", "dh"),
    (r"vision/outer/kernel", "hd"),
    (r"layers/(attention/(qkv|o|out|[qv])|mlp/(gate|up|down)|fc[12])[/_]bias", WHOLE),
    (r"vision/(patch|(inner|outer)/bias)", WHOLE),
    # unCLIP and CLIP: stored in pieces, gathered where they are used
    (r"unclip/(unet|vae)/.*/kernel", "...d"),
    (r"unclip/(unet|vae)/.*/kernel", ".d"),
    (r"clip/(vision|text)/blocks/layers/.*/kernel", "l.d"),
    (r"(unclip|clip)/.*", WHOLE),
    (r"ns_coeffs", WHOLE),  # in the state of Muon
    # image tokenizers, megabytes each
    (r"vqgan/.*", WHOLE),
    (r"seed/(?!.*blocks/layers/).*", WHOLE),
]
"""A regex of the end of a parameter's path -> the letters of its axes. The first row that fits the
path and the number of axes counts. A user's own backbone has its rows in `PARAMS` of its module."""

HEAD = {
    "head/kernel": ".v",
    "head/a": "..",
    "head/b": ".v",
    "embed/embedding": "v.",
}
"""The output layer (tied: the embedding) while log-probabilities are computed: the width is whole,
or each chunk's logits would be summed over the devices, [B chunk V] in float32."""


def add(rows: Sequence[tuple[str, str]]) -> None:
    """Adds rows to `PARAMS`, before those that are there."""
    PARAMS[:0] = [row for row in rows if row not in PARAMS]


def letters(path: str, shape: tuple[int, ...]) -> str:
    """Returns the letters of a parameter's axes; `WHOLE` for scalars, such as optimizers' counts.

    The scales of a quantised weight have its letters; their axes of length 1 are replicated.

    Raises:
        ValueError: no row of `PARAMS` fits.
    """
    if not shape:
        return WHOLE
    path = unquantized_path(path)
    for pattern, found in PARAMS:
        if len(found) in (0, len(shape)) and re.search(f"(^|/){pattern}$", path):
            return found
    raise ValueError(
        f"no rule says how to split the parameter {path} {list(shape)} over devices; add a row for "
        "it to PARAMS in mmcot_jax/rules.py, or to PARAMS of the backbone's own module"
    )


def spec(letters: str, shape: tuple[int, ...], mesh: Any) -> PartitionSpec:
    """Letters -> mesh axes; an axis that its mesh axes do not divide is replicated."""
    pairs = zip((RULES[letter] for letter in letters), shape[: len(letters)], strict=True)
    return PartitionSpec(
        *(axis if axis and n % size(mesh, axis) == 0 else None for axis, n in pairs)
    )


def size(mesh: Any, axis: str | tuple[str, ...]) -> int:
    """Returns the number of devices along an axis of the mesh, or along several."""
    return math.prod(mesh.shape[name] for name in ((axis,) if isinstance(axis, str) else axis))


def constrain(x: jax.Array, letters: str) -> jax.Array:
    """Constrains an activation's sharding to its letters if a mesh is set; other axes are whole."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    return jax.lax.with_sharding_constraint(x, spec(letters, x.shape, mesh))
