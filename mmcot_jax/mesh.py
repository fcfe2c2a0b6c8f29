"""The devices as a mesh, which axis of which parameter lies where, and the ways across.

Axes: B rows; the mesh has "data", "fsdp" and "tensor".
"""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
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

    with jax.transfer_guard_host_to_device("allow"):  # also inside `strict`
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
    """The same values on every device; of several processes all give them."""
    place = NamedSharding(mesh, PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, place)
    return jax.jit(_same, out_shardings=place)(tree)  # device_put reaches this host's devices only


def _same(tree: PyTree) -> PyTree:
    return tree


def rows(mesh: Mesh, total: int, process: int | None = None) -> np.ndarray:
    """Which of a batch of `total` rows lie on a process's devices, ascending; by default on ours.

    Devices that differ along tensor only hold the same rows. Where such devices belong to several
    processes, each of these has them all, and computes the same.
    """
    process = jax.process_index() if process is None else process
    places = NamedSharding(mesh, ROWS).devices_indices_map((total,))
    shards = {
        place.indices(total)[:2]
        for device, (place,) in places.items()
        if device.process_index == process
    }
    return np.concatenate([np.arange(*shard) for shard in sorted(shards)])


def gather(values: np.ndarray, mesh: Mesh) -> np.ndarray:
    """All rows of a batch, the same on every process; each process gives its own, numpy, B first.

    Of rows that several processes have, the first one's count.
    """
    if jax.process_count() == 1:
        return values
    # as bytes: on its way through jax a float64 would be rounded
    flat = np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8)
    each = multihost_utils.process_allgather(flat)
    total = len(values) * mesh.shape["data"] * mesh.shape["fsdp"] // _row_shards(mesh)
    out = np.empty((total, flat.shape[1]), np.uint8)
    for process in reversed(range(jax.process_count())):
        out[rows(mesh, total, process)] = each[process]
    return out.view(values.dtype).reshape(total, *values.shape[1:])


def _row_shards(mesh: Mesh) -> int:
    """Pieces of a batch on this process's devices."""
    return len(rows(mesh, mesh.shape["data"] * mesh.shape["fsdp"]))


def everyone(value: Any) -> list[Any]:
    """Every process's `value`, plain enough for JSON, in the order of the processes."""
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    padded = np.full(most(len(text)), ord(" "), np.uint8)
    padded[: len(text)] = text
    return [json.loads(each.tobytes()) for each in multihost_utils.process_allgather(padded)]


def most(number: int) -> int:
    """The largest of all processes' numbers."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.array([number])).max())


@contextlib.contextmanager
def strict(mesh: Mesh) -> Iterator[None]:
    """Inside, host and device exchange only what `put` and `get` carry."""
    with jax.set_mesh(mesh), jax.transfer_guard("disallow"):
        yield
