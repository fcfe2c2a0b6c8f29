"""Reads upstream tensors into parameters on their devices, quantised if they are to be."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from mmcot_jax import quantize, safetensors_io
from mmcot_jax.keytable import Slot

if TYPE_CHECKING:
    import qwix

Tensors = Mapping[str, np.ndarray]
"""Upstream name -> memory-mapped array; its bytes are read when it is copied."""


def place(group: Sequence[Slot], tensors: Tensors, like: Any) -> Any:
    """Returns the parameter that a group of tensors makes up, on its devices; `like` is its shape.

    Each shard is read by itself. A `QArray` is quantised layer by layer on the way.
    """
    if quantize.is_quantized(like):
        return _place_quantized(group, tensors, like)
    sharding = _sharding(like)
    pieces = {}

    def piece(index: tuple[slice, ...]) -> np.ndarray:
        # replicas request the same piece: it is read once
        key = tuple(s.indices(n)[:2] for s, n in zip(index, like.shape, strict=True))
        if key not in pieces:
            pieces[key] = _read(group, tensors, index, like)
        return pieces[key]

    placed = jax.make_array_from_callback(like.shape, sharding, piece)
    for slot in group:
        safetensors_io.forget(tensors[slot.name])
    return placed


def _place_quantized(group: Sequence[Slot], tensors: Tensors, like: "qwix.QArray") -> "qwix.QArray":
    """Quantises each layer over the whole of the axis that is summed, then cuts out the shards."""
    axis = like.scale.shape.index(1, len(like.shape) - 2)
    lead = int(group[0].layer is not None)
    done = {}

    def quantized(index: tuple[slice, ...]) -> "qwix.QArray":
        """The weight at `index`, whole along `axis`, on the host."""
        spans = (s.indices(n)[:2] for s, n in zip(index, like.shape, strict=True))
        key = tuple((0, like.shape[i]) if i == axis else x for i, x in enumerate(spans))
        if key not in done:
            at = tuple(slice(*span) for span in key)
            layers = []
            for slot in group[at[0]] if lead else group:
                layer = np.array(slot.read(tensors[slot.name])[at[lead:]], order="C")
                layers.append(jax.device_get(_quantize(layer, axis=axis - lead)))
                safetensors_io.forget(tensors[slot.name])
            done[key] = jax.tree.map(lambda *x: np.stack(x), *layers) if lead else layers[0]
        return done[key]

    def values(index: tuple[slice, ...]) -> np.ndarray:
        cut = tuple(s if i == axis else slice(None) for i, s in enumerate(index))
        return quantized(index).qvalue[cut]

    place = jax.make_array_from_callback
    qvalue = place(like.qvalue.shape, _sharding(like.qvalue), values)
    scale = place(like.scale.shape, _sharding(like.scale), lambda index: quantized(index).scale)
    return like.replace(qvalue=qvalue, scale=scale)


_quantize = jax.jit(quantize.quantize, static_argnames="axis")


def _sharding(like: jax.ShapeDtypeStruct) -> jax.sharding.Sharding:
    return like.sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])


def _read(group, tensors, index, like) -> np.ndarray:
    if group[0].layer is None:
        return np.array(group[0].read(tensors[group[0].name])[index], like.dtype, order="C")
    shape = [len(range(*s.indices(n))) for s, n in zip(index, like.shape, strict=True)]
    out = np.empty(shape, like.dtype)
    for own, slot in zip(out, group[index[0]], strict=True):
        own[...] = slot.read(tensors[slot.name])[index[1:]].astype(like.dtype, copy=False)
    return out
