"""The devices as a mesh, and the ways across; `rules` says what lies where.

Axes: B rows; the mesh has "data", "fsdp" and "tensor".
"""

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

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
    slices = len({_slice(device) for device in devices})
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


def remesh(mesh: Mesh, data: int = -1, fsdp: int = 1, tensor: int = 1) -> Mesh:
    """The devices of `mesh` cut into other axes, a host's next to each other.

    The tensor axis stays within a host: a row lies whole on the host that put it there.

    Raises:
        ValueError: as `make`, or a tensor axis longer than a host.
    """
    sizes = _sizes(data, fsdp, tensor, mesh.size)
    if sizes == list(mesh.devices.shape):
        return mesh
    order = sorted(mesh.devices.flat, key=lambda device: (_slice(device), _host(device)))
    grid = np.array(order).reshape(sizes)
    local = sum(_host(device) == _host(order[0]) for device in order)
    if local % sizes[2]:
        raise ValueError(
            f"rollout_mesh tensor={sizes[2]} spans hosts of {local} devices; choose a divisor of "
            f"{local}"
        )
    return Mesh(grid, rules.AXES, axis_types=(AxisType.Auto,) * 3)


def _host(device: jax.Device) -> int:
    return device.process_index


def _slice(device: jax.Device) -> int:
    return getattr(device, "slice_index", None) or 0


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
            f"{name} is {rows}, no multiple of {parts} (micro-batches) x {devices} "
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

    with jax.transfer_guard_host_to_device("allow"):  # also inside `no_implicit_transfers`
        return jax.tree.map(one, rows) if axes is None else jax.tree.map(one, rows, axes)


def get(rows: PyTree, axis: int = 0) -> PyTree:
    """Global arrays -> this process's rows, as numpy, in order."""

    def one(x):
        if x.is_fully_addressable:
            return np.asarray(jax.device_get(x))
        shards = {s.index[axis].start or 0: s for s in x.addressable_shards}
        return np.concatenate([np.asarray(shards[k].data) for k in sorted(shards)], axis=axis)

    return jax.tree.map(one, rows)


def bytes_per_device(tree: PyTree) -> float:
    """Bytes of these arrays, or shapes with their shardings, on one device."""

    def one(x):
        key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        size = 8 if key else x.dtype.itemsize
        return float(np.prod(x.sharding.shard_shape(x.shape))) * size

    return sum(map(one, jax.tree.leaves(tree)), 0.0)


def device_memory(mesh: Mesh) -> float:
    """Bytes that programs may use on a device, of all the least; inf where none says (CPUs)."""
    said = [device.memory_stats() for device in mesh.local_devices]
    return float(
        min(all_gather_objects(min((s["bytes_limit"] for s in said if s), default=math.inf)))
    )


def keep_both_layouts(
    keep: bool | None, weights: PyTree, here: Mesh, there: Mesh, memory: float
) -> bool:
    """Whether weights are to lie on two meshes at once: as `keep` says.

    None: where they leave half of a device's `memory`, in bytes, to what they are for. `weights`
    may be shapes.
    """
    if here == there or keep is not None:
        return here != there and bool(keep)
    return sum(bytes_per_device(shapes(weights, mesh)) for mesh in (here, there)) <= memory / 2


class ReshardedWeights:
    """Weights as training wants them and as sampling does: both, or the one that is in use."""

    def __init__(self, weights: PyTree, mesh: Mesh, *, keep: bool):
        self._at, self._keep = {mesh: weights}, keep

    def on(self, mesh: Mesh) -> PyTree:
        """The weights as they lie on `mesh`, moved there first if they are not.

        Without `keep` they are then nowhere else.
        """
        if mesh not in self._at:
            weights = next(iter(self._at.values()))
            if not self._keep:
                self._at.clear()
            self._at[mesh] = move(weights, mesh, donate=not self._keep)
        return self._at[mesh]


def move(tree: PyTree, mesh: Mesh, *, donate: bool = False) -> PyTree:
    """Parameters as they lie on `mesh`, another cut of the same devices; `donate` gives them away.

    What lies so already is handed back as it is.
    """

    def one(x, place):
        if x.sharding == place:
            return x
        moved = _in_turn(jax.device_put(x, place, donate=donate))
        # what lies alike is shared; pieces of another size cannot be reused, so they are freed
        if donate and not x.is_deleted() and not x.sharding.is_equivalent_to(place, x.ndim):
            x.delete()
        return moved

    return jax.tree.map(one, tree, shardings(tree, mesh))


def move_rows(rows: PyTree, mesh: Mesh, axes: PyTree) -> PyTree:
    """Rows of one cut of the devices, shared as another shares them; `axes` as in `put`."""

    def one(x, axis):
        place = NamedSharding(mesh, PartitionSpec(*(None,) * axis, *ROWS))
        return _in_turn(jax.device_put(x, place))

    return jax.tree.map(one, rows, axes)


def _in_turn(x: jax.Array) -> jax.Array:
    """Waits for what several processes move: on CPUs two moves at once may wait for one another."""
    return jax.block_until_ready(x) if jax.process_count() > 1 else x


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
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


def all_gather_objects(value: Any) -> list[Any]:
    """Every process's `value`, plain enough for JSON, in the order of the processes."""
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    padded = np.full(all_reduce_max(len(text)), ord(" "), np.uint8)
    padded[: len(text)] = text
    return [json.loads(each.tobytes()) for each in multihost_utils.process_allgather(padded)]


def all_reduce_max(number: int) -> int:
    """The largest of all processes' numbers."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.array([number])).max())


@contextlib.contextmanager
def no_implicit_transfers(mesh: Mesh) -> Iterator[None]:
    """Inside, host and device exchange only what `put` and `get` carry."""
    with jax.set_mesh(mesh), jax.transfer_guard("disallow"):
        yield
