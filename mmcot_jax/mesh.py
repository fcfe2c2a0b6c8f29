"""The devices as a mesh, and the ways across; `rules` says what lies where.

Axes: B rows; the mesh has "data", "fsdp" and "tensor".
"""

import contextlib
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from mmcot_jax import rules

ROWS = PartitionSpec(rules.ROWS)


def make(
    data: int = -1,
    fsdp: int = 1,
    tensor: int = 1,
    *,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """A mesh over `devices`, by default all; one axis may be -1, what is left.

    Over several slices the data axis goes from slice to slice, the others stay within one: what
    crosses between them is then the gradients alone.

    Raises:
        ValueError: sizes whose product is not the number of devices, or a data axis that the
            slices cannot share.
    """
    devices = jax.devices() if devices is None else devices
    sizes = _sizes(data, fsdp, tensor, len(devices))
    slices = len({getattr(device, "slice_index", None) or 0 for device in devices})
    if sizes[0] % slices:
        raise ValueError(
            f"mesh data={sizes[0]} on {slices} slices: data goes from slice to slice, so make it a "
            f"multiple of {slices}"
        )
    along = {"devices": devices, "allow_split_physical_axes": True}
    if slices > 1:
        within = (sizes[0] // slices, *sizes[1:])
        grid = mesh_utils.create_hybrid_device_mesh(within, (slices, 1, 1), **along)
    else:
        grid = mesh_utils.create_device_mesh(sizes, **along)
    return Mesh(grid, rules.AXES, axis_types=(AxisType.Auto,) * 3)


def again(mesh: Mesh, data: int = -1, fsdp: int = 1, tensor: int = 1) -> Mesh:
    """The devices of `mesh`, in its order, cut into other axes.

    In its order, so that an array moves between the two by one program, on any number of hosts,
    and so that neighbours along the last axis stay neighbours.

    Raises:
        ValueError: as `make`.
    """
    sizes = _sizes(data, fsdp, tensor, mesh.size)
    return Mesh(mesh.devices.reshape(sizes), rules.AXES, axis_types=(AxisType.Auto,) * 3)


def _sizes(data: int, fsdp: int, tensor: int, count: int) -> list[int]:
    sizes = [data, fsdp, tensor]
    known = int(np.prod([s for s in sizes if s > 0]))
    if sizes.count(-1) == 1 and count % known == 0:
        sizes[sizes.index(-1)] = count // known
    if int(np.prod(sizes)) != count or min(sizes) < 1:
        raise ValueError(
            f"mesh data={data} fsdp={fsdp} tensor={tensor} does not fit {count} devices; "
            "choose sizes whose product is that, one of them may be -1"
        )
    return sizes


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
    return rules.spec(rules.letters(path, shape), shape, mesh)


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


def move(tree: PyTree, mesh: Mesh, *, donate: bool = False) -> PyTree:
    """Parameters as they lie on `mesh`, another cut of the same devices; `donate` gives them away.

    On the same mesh they are what was given.
    """
    return jax.device_put(tree, shardings(tree, mesh), donate=donate)


def everywhere(tree: PyTree, mesh: Mesh) -> PyTree:
    """The same values on every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


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
