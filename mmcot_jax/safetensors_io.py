"""Reads safetensors memory-mapped, writes them tensor by tensor. No jax.

Source of the format: https://huggingface.co/docs/safetensors, "Format".
"""

import json
import math
import mmap
import pathlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from mmcot_jax import files
from mmcot_jax.file_kind import file_kind

DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}

_LONGEST_HEADER = 100_000_000  # bytes, the format's limit


class Entry(NamedTuple):
    """A tensor to be written."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        """Size in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def read(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Returns views into a mapped file, by name; bytes are read when a view is copied.

    Raises:
        ValueError: no safetensors file, a truncated one, a dtype that numpy lacks, or tensors whose
            shape, dtype and place in the file do not fit together.
    """
    path = pathlib.Path(path)
    size = path.stat().st_size
    data = np.memmap(path, np.uint8, "r").view(np.ndarray) if size else np.zeros(0, np.uint8)
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    try:
        header = json.loads(data[8 : min(start, _LONGEST_HEADER)].tobytes())
        header.pop("__metadata__", None)
    except (ValueError, AttributeError, TypeError, RecursionError):
        kind = file_kind(path)
        reason = "its header is cut short or damaged" if "safetensors" in kind else f"it is {kind}"
        raise ValueError(
            f"{path} is no safetensors file ({reason}); fetch the weights as safetensors"
        ) from None
    views = {name: _view(data[start:], name, info, path) for name, info in header.items()}
    places = sorted((*info["data_offsets"], name) for name, info in header.items())
    for (_, end, first), (begin, _, second) in pairwise(places):
        if begin < end:
            raise ValueError(
                f"{path} is damaged: {second} begins at byte {begin}, within {first}, which ends "
                f"at {end}; fetch it again"
            )
    return views


def _view(data: np.ndarray, name: str, info: Any, path: pathlib.Path) -> np.ndarray:
    damaged = f"{path} has a damaged header: {name}"
    fields = ("dtype", "shape", "data_offsets")
    if not isinstance(info, dict) or any(field not in info for field in fields):
        raise ValueError(f"{damaged} needs {', '.join(fields)}; fetch it again")
    dtype, shape, offsets = (info[field] for field in fields)
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{path}: {name} has dtype {dtype}; convert to one of {list(DTYPES)}")
    if not (_are_sizes(shape) and _are_sizes(offsets) and len(offsets) == 2):
        raise ValueError(f"{damaged} has shape {shape} and data_offsets {offsets}; fetch it again")
    begin, end = offsets
    needed = math.prod(shape) * DTYPES[dtype].itemsize
    if end - begin != needed:
        raise ValueError(
            f"{damaged} has {end - begin} bytes, {shape} of {dtype} need {needed}; fetch it again"
        )
    if end > data.size:
        raise ValueError(
            f"{path} is cut short: {name} ends at byte {end} of {data.size}; fetch it again"
        )
    return data[begin:end].view(DTYPES[dtype]).reshape(shape)


def _are_sizes(x: Any) -> bool:
    return isinstance(x, list) and all(type(n) is int and n >= 0 for n in x)


def forget(view: np.ndarray) -> None:
    """Releases the memory of a mapped file's pages; later reads load them again."""
    base = view
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)


def write(path: pathlib.Path, entries: Sequence[Entry], arrays: Iterable[np.ndarray]) -> None:
    """Writes one file, the arrays in the order of `entries`; completely or not at all.

    Raises:
        OSError: with `path` as its file name.
    """
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for entry in entries:
        begin, end = end, end + entry.size
        header[entry.name] = {
            "dtype": NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with files.atomic(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for entry, array in zip(entries, arrays, strict=True):
            assert (array.shape, array.dtype) == (entry.shape, entry.dtype), entry
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def write_folder(
    folder: str | pathlib.Path,
    entries: Sequence[Entry],
    arrays: Iterable[np.ndarray],
    max_bytes: int = 5_000_000_000,
) -> list[pathlib.Path]:
    """Writes model.safetensors, or shards of `max_bytes` and an index; returns the files."""
    folder = pathlib.Path(folder)
    shards, arrays = _split(entries, max_bytes), iter(arrays)
    if len(shards) == 1:
        write(folder / "model.safetensors", entries, arrays)
        return [folder / "model.safetensors"]
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        write(folder / name, shard, (next(arrays) for _ in shard))
    index = {
        "metadata": {"total_size": sum(entry.size for entry in entries)},
        "weight_map": {e.name: n for n, shard in zip(names, shards, strict=True) for e in shard},
    }
    path = folder / "model.safetensors.index.json"
    files.write_text(path, json.dumps(index, indent=2) + "\n")
    return [*(folder / name for name in names), path]


def _split(entries: Sequence[Entry], max_bytes: int) -> list[list[Entry]]:
    shards, room = [[]], max_bytes
    for entry in entries:
        if entry.size > room and shards[-1]:
            shards, room = [*shards, []], max_bytes
        shards[-1].append(entry)
        room -= entry.size
    return shards
