"""The devices as a mesh, which axis of which parameter lies where, and the ways across.

Axes: B rows; the mesh has "data", "fsdp" and "tensor".
"""

import contextlib
import re
from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

AXES = ("data", "fsdp", "tensor")
ROWS = PartitionSpec(("data", "fsdp"))
"""Rows of a batch are split over data and fsdp."""

# one letter per axis of a parameter -> the mesh axis it is split over
RULES = {
    "l": None,  # stacked layers
    "v": "tensor",  # vocabulary
    "d": "fsdp",  # width
    "h": "tensor",  # heads, and the hidden units of an MLP
    ".": None,
}

# the end of a parameter's path -> the letters of its axes; the first that fits; else replicated
PARAMS = (
    (r"embed/embedding", "vd"),
    (r"head/kernel", "dv"),
    (r"attention/[qkv]/kernel", "ldh"),
    (r"attention/[qkv]/bias", "lh"),
    (r"attention/qkv/kernel", "ld."),  # three in one: no piece of it is whole heads of one
    (r"attention/[qk]_norm/(scale|bias)", "lh."),
    (r"attention/o/kernel", "lhd"),
    (r"mlp/(gate|up)/kernel", "ldh"),
    (r"mlp/down/kernel", "lhd"),
    # a ViT's blocks
    (r"layers/attention/out/kernel", "lhd"),
    (r"layers/fc1/kernel", "ldh"),
    (r"layers/fc2/kernel", "lhd"),
    (r"(attention/[qkv]|mlp/(gate|up))/a", "ld."),
    (r"(attention/[qkv]|mlp/(gate|up))/b", "l.h"),
    (r"(attention/o|mlp/down)/a", "lh."),
    (r"(attention/o|mlp/down)/b", "l.d"),
    (r"head/a", "d."),
    (r"head/b", ".v"),
)


def make(data: int = -1, fsdp: int = 1, tensor: int = 1) -> Mesh:
    """A mesh over all devices; one axis may be -1, what is left.

    Raises:
        ValueError: sizes whose product is not the number of devices.
    """
    count, sizes = jax.device_count(), [data, fsdp, tensor]
    known = int(np.prod([s for s in sizes if s > 0]))
    if sizes.count(-1) == 1 and count % known == 0:
        sizes[sizes.index(-1)] = count // known
    if int(np.prod(sizes)) != count or min(sizes) < 1:
        raise ValueError(
            f"mesh data={data} fsdp={fsdp} tensor={tensor} does not fit {count} devices; "
            "choose sizes whose product is that, one of them may be -1"
        )
    return jax.make_mesh(tuple(sizes), AXES, axis_types=(AxisType.Auto,) * 3)


def check_rows(name: str, rows: int, mesh: Mesh, parts: int = 1) -> None:
    """That a batch of `rows`, taken in `parts`, is shared evenly; `name` is its config key.

    Raises:
        ValueError: it is not.
    """
    devices = mesh.shape["data"] * mesh.shape["fsdp"]
    if rows % (parts * devices):
        raise ValueError(
            f"{name} is {rows}, no multiple of {parts} (gradient_accumulation_steps) x {devices} "
            f"(devices along data and fsdp); choose a multiple of {parts * devices}"
        )


def spec(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Where a parameter lies; an axis that its mesh axis does not divide is replicated."""
    for pattern, letters in PARAMS:
        if re.search(f"(^|/){pattern}$", path) and len(letters) == len(shape):
            names = (RULES[letter] for letter in letters)
            pairs = zip(names, shape, strict=True)
            return PartitionSpec(
                *(n if n and size % mesh.shape[n] == 0 else None for n, size in pairs)
            )
    return PartitionSpec()


def shardings(tree: PyTree, mesh: Mesh) -> PyTree:
    """A sharding for each leaf of a tree of arrays or shapes, by its path."""

    def place(path, leaf):
        name = "/".join(str(getattr(k, "key", getattr(k, "name", k))) for k in path)
        return NamedSharding(mesh, spec(name, leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(place, tree)


def shapes(tree: PyTree, mesh: Mesh) -> PyTree:
    """Shapes, dtypes and shardings, as loading and restoring want them."""
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        tree,
        shardings(tree, mesh),
    )


def put(rows: PyTree, mesh: Mesh, axes: PyTree | None = None) -> PyTree:
    """This process's rows (numpy, B first unless `axes` says where) -> global arrays."""

    def one(x, axis=0):
        names = (*(None,) * axis, *ROWS)
        return jax.make_array_from_process_local_data(
            NamedSharding(mesh, PartitionSpec(*names)), np.asarray(x)
        )

    return jax.tree.map(one, rows) if axes is None else jax.tree.map(one, rows, axes)


def get(rows: PyTree, axis: int = 0) -> PyTree:
    """Global arrays -> this process's rows, as numpy, in order."""

    def one(x):
        if x.is_fully_addressable:
            return np.asarray(jax.device_get(x))
        shards = {s.index[axis].start or 0: s for s in x.addressable_shards}
        return np.concatenate([np.asarray(shards[k].data) for k in sorted(shards)], axis=axis)

    return jax.tree.map(one, rows)


def everywhere(tree: PyTree, mesh: Mesh) -> PyTree:
    """The same values on every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


@contextlib.contextmanager
def strict(mesh: Mesh) -> Iterator[None]:
    """Inside, host and device exchange only what `put` and `get` carry."""
    with jax.set_mesh(mesh), jax.transfer_guard("disallow"):
        yield
