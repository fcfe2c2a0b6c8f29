"""The device mesh, transfers to and from it, and resharding; shardings follow from `rules`.

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
    """Makes a mesh over `devices`, by default all; one axis may be -1, the remaining factor.

    With several slices the data axis spans them and the other axes stay within one, so that only
    gradients cross slices.

    Raises:
        ValueError: sizes whose product is not the number of devices, or a data axis that is no
            multiple of the number of slices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = _axis_sizes(data, fsdp, tensor, len(devices))
    slices = len({_slice(device) for device in devices})
    if sizes[0] % slices:
        raise ValueError(
            f"mesh data={sizes[0]} on {slices} slices: the data axis spans the slices, so make it "
            f"a multiple of {slices}"
        )
    options = {"devices": devices, "allow_split_physical_axes": True}
    if slices > 1:
        slice_shape = (sizes[0] // slices, *sizes[1:])
        grid = mesh_utils.create_hybrid_device_mesh(slice_shape, (slices, 1, 1), **options)
    else:
        grid = mesh_utils.create_device_mesh(sizes, **options)
    return Mesh(grid, rules.AXES, axis_types=(AxisType.Auto,) * 3)


def remesh(mesh: Mesh, data: int = -1, fsdp: int = 1, tensor: int = 1) -> Mesh:
    """Makes a mesh of other axis sizes over the devices of `mesh`, a host's next to each other.

    The tensor axis stays within a host, so a row is whole on the host that put it there.

    Raises:
        ValueError: as `make`, or a tensor axis that spans hosts.
    """
    hint = ", or --config.rollout_mesh=None to sample on the mesh of training"
    sizes = _axis_sizes(data, fsdp, tensor, mesh.size, "rollout_mesh", hint)
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


def _axis_sizes(
    data: int, fsdp: int, tensor: int, count: int, name: str = "mesh", hint: str = ""
) -> list[int]:
    sizes = [data, fsdp, tensor]
    known = int(np.prod([s for s in sizes if s > 0]))
    if sizes.count(-1) == 1 and count % known == 0:
        sizes[sizes.index(-1)] = count // known
    if int(np.prod(sizes)) != count or min(sizes) < 1:
        raise ValueError(
            f"{name} data={data} fsdp={fsdp} tensor={tensor} does not fit {count} devices; "
            f"choose sizes whose product is that, one of them may be -1{hint}"
        )
    return sizes


def check_rows(name: str, rows: int, mesh: Mesh, parts: int = 1) -> None:
    """Checks that the mesh divides a batch of `rows` in `parts` micro-batches evenly.

    Raises:
        ValueError: it does not; the message names the batch's config key, `name`.
    """
    devices = rules.size(mesh, rules.ROWS)
    if rows % (parts * devices):
        raise ValueError(
            f"{name} is {rows}, no multiple of {parts} (micro-batches) x {devices} "
            f"(devices along data and fsdp); choose a multiple of {parts * devices}"
        )


def samples_per_row(prompts: int, samples: int, mesh: Mesh, parts: int) -> int:
    """The most samples of a prompt that a training row may hold: a divisor of `samples`.

    The rows still fill the devices and the `parts` micro-batches evenly, as `check_rows` requires
    of prompts x samples. 4 prompts of 8 samples on 8 devices: 4 samples a row.
    """
    evenly = parts * rules.size(mesh, rules.ROWS)
    divisors = [g for g in range(1, samples + 1) if samples % g == 0]
    return max(g for g in divisors if prompts * (samples // g) % evenly == 0)


def spec(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """The partition of a parameter; an axis that its mesh axis does not divide is replicated."""
    return rules.spec(rules.letters(path, shape), shape, mesh)


def shardings(tree: PyTree, mesh: Mesh) -> PyTree:
    """The sharding of each leaf of a tree of arrays or shapes, from its path."""

    def sharding(path, leaf):
        name = "/".join(str(getattr(k, "key", getattr(k, "name", k))) for k in path)
        return NamedSharding(mesh, spec(name, leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(sharding, tree)


def shapes(tree: PyTree, mesh: Mesh) -> PyTree:
    """A `jax.ShapeDtypeStruct` with sharding for each leaf: the target of loads and restores."""
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        tree,
        shardings(tree, mesh),
    )


def put(rows: PyTree, mesh: Mesh, axes: PyTree | None = None) -> PyTree:
    """Makes global arrays of this process's numpy rows; `axes` has the axis of the rows, else 0."""

    def put_one(x, axis=0):
        names = (*(None,) * axis, *ROWS)
        return jax.make_array_from_process_local_data(
            NamedSharding(mesh, PartitionSpec(*names)), np.asarray(x)
        )

    with jax.transfer_guard_host_to_device("allow"):  # also inside `no_implicit_transfers`
        return jax.tree.map(put_one, rows) if axes is None else jax.tree.map(put_one, rows, axes)


def get(rows: PyTree, axis: int = 0) -> PyTree:
    """Copies this process's rows of global arrays to numpy, in order."""

    def get_one(x):
        if x.is_fully_addressable:
            return np.asarray(jax.device_get(x))
        shards = {s.index[axis].start or 0: s for s in x.addressable_shards}
        return np.concatenate([np.asarray(shards[k].data) for k in sorted(shards)], axis=axis)

    return jax.tree.map(get_one, rows)


def bytes_per_device(tree: PyTree) -> float:
    """Bytes on one device of arrays, or of shapes with shardings."""

    def shard_bytes(x):
        key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        size = 8 if key else x.dtype.itemsize
        return float(np.prod(x.sharding.shard_shape(x.shape))) * size

    return sum(map(shard_bytes, jax.tree.leaves(tree)), 0.0)


def device_memory(mesh: Mesh) -> float:
    """Bytes that a program may use on the smallest device; inf if unknown (CPUs)."""
    limit = _smallest_limit([device.memory_stats() for device in mesh.local_devices])
    return min(all_gather_objects(limit))


def _smallest_limit(stats: Sequence[dict[str, int] | None]) -> float:
    return min((float(s["bytes_limit"]) for s in stats if s), default=math.inf)


def keep_both_layouts(
    keep: bool | None, weights: PyTree, mesh: Mesh, other: Mesh, memory: float
) -> bool:
    """Returns whether weights (arrays or shapes) stay on both meshes at once.

    `keep` decides; if it is None they stay if both copies need at most half of a device's
    `memory`, in bytes.
    """
    if mesh == other or keep is not None:
        return mesh != other and bool(keep)
    return sum(bytes_per_device(shapes(weights, m)) for m in (mesh, other)) <= memory / 2


class ReshardedWeights:
    """Weights that training and sampling use on different meshes: on both, or on the one in use."""

    def __init__(self, weights: PyTree, mesh: Mesh, *, keep: bool):
        self._copies, self._keep = {mesh: weights}, keep

    def on(self, mesh: Mesh) -> PyTree:
        """Returns the weights on `mesh`, resharded at first use; without `keep` the others go."""
        if mesh not in self._copies:
            weights = next(iter(self._copies.values()))
            if not self._keep:
                self._copies.clear()
            self._copies[mesh] = move(weights, mesh, donate=not self._keep)
        return self._copies[mesh]


def move(tree: PyTree, mesh: Mesh, *, donate: bool = False) -> PyTree:
    """Reshards parameters to `mesh`, another mesh of the same devices; `donate` frees the source.

    Arrays that have the sharding already are returned as they are.
    """

    def move_one(x, sharding):
        if x.sharding == sharding:
            return x
        moved = _synchronously(jax.device_put(x, sharding, donate=donate))
        # equivalent shardings share buffers; shards of other sizes are not donated, so delete them
        if donate and not x.is_deleted() and not x.sharding.is_equivalent_to(sharding, x.ndim):
            x.delete()
        return moved

    return jax.tree.map(move_one, tree, shardings(tree, mesh))


def move_rows(rows: PyTree, mesh: Mesh, axes: PyTree) -> PyTree:
    """Reshards rows to `mesh`, another mesh of the same devices; `axes` as in `put`."""

    def move_one(x, axis):
        sharding = NamedSharding(mesh, PartitionSpec(*(None,) * axis, *ROWS))
        return _synchronously(jax.device_put(x, sharding))

    return jax.tree.map(move_one, rows, axes)


def _synchronously(x: jax.Array) -> jax.Array:
    """Waits for a transfer between processes: on CPUs two at once can deadlock."""
    return jax.block_until_ready(x) if jax.process_count() > 1 else x


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Puts the same values on every device; every process passes the same."""
    sharding = NamedSharding(mesh, PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    # device_put reaches only the devices of this host
    return jax.jit(_identity, out_shardings=sharding)(tree)


def _identity(tree: PyTree) -> PyTree:
    return tree


def rows(mesh: Mesh, total: int, process: int | None = None) -> np.ndarray:
    """Indices of the rows of a batch of `total` on a process's devices, by default this one's.

    Devices that differ along tensor only hold the same rows. If such devices belong to several
    processes, each of these has the same rows and computes the same.
    """
    process = jax.process_index() if process is None else process
    indices = NamedSharding(mesh, ROWS).devices_indices_map((total,))
    shards = {
        index.indices(total)[:2]
        for device, (index,) in indices.items()
        if device.process_index == process
    }
    return np.concatenate([np.arange(*shard) for shard in sorted(shards)])


def gather(values: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Gathers all rows of a batch on every process from each process's rows, numpy, B first.

    Rows that several processes have are taken from the first of them.
    """
    if jax.process_count() == 1:
        return values
    # as bytes: jax would round float64
    flat = np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8)
    each = multihost_utils.process_allgather(flat)
    shards = rules.size(mesh, rules.ROWS)  # a process has as large a share of them as of rows
    total = len(values) * shards // len(rows(mesh, shards))
    out = np.empty((total, flat.shape[1]), np.uint8)
    for process in reversed(range(jax.process_count())):
        out[rows(mesh, total, process)] = each[process]
    return out.view(values.dtype).reshape(total, *values.shape[1:])


def all_gather_objects(value: Any) -> list[Any]:
    """The `value` of every process, of JSON's types, in the order of the processes."""
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    padded = np.full(all_reduce_max(len(text)), ord(" "), np.uint8)
    padded[: len(text)] = text
    return [json.loads(each.tobytes()) for each in multihost_utils.process_allgather(padded)]


def all_reduce_max(number: int) -> int:
    """The largest `number` of all processes."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.array([number])).max())


@contextlib.contextmanager
def no_implicit_transfers(mesh: Mesh) -> Iterator[None]:
    """A context in which only `put` and `get` transfer data between host and device."""
    with jax.set_mesh(mesh), jax.transfer_guard("disallow"):
        yield
