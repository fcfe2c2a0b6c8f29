"""Reads safetensors memory-mapped, writes them tensor by tensor; reads torch pickles. No jax.

Source of the format: https://huggingface.co/docs/safetensors, "Format".
"""

import json
import mmap
import pathlib
import pickle
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import ml_dtypes
import numpy as np

from mmcot_jax import files

DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
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
        ValueError: no safetensors file, a truncated one, or a dtype numpy lacks.
    """
    path = pathlib.Path(path)
    size = path.stat().st_size
    data = np.memmap(path, np.uint8, "r").view(np.ndarray) if size else np.zeros(0, np.uint8)
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    try:
        header = json.loads(data[8 : min(start, _LONGEST_HEADER)].tobytes())
        header.pop("__metadata__", None)
    except (ValueError, AttributeError, TypeError):
        raise ValueError(
            f"{path} is no safetensors file (header unreadable); fetch it again"
        ) from None
    return {name: _view(data[start:], name, info, path) for name, info in header.items()}


def _view(data: np.ndarray, name: str, info: Mapping, path: pathlib.Path) -> np.ndarray:
    if info["dtype"] not in DTYPES:
        raise ValueError(
            f"{path}: {name} has dtype {info['dtype']}; convert to one of {list(DTYPES)}"
        )
    begin, end = info["data_offsets"]
    if end > data.size:
        raise ValueError(
            f"{path} is cut short: {name} ends at byte {end} of {data.size}; fetch it again"
        )
    return data[begin:end].view(DTYPES[info["dtype"]]).reshape(info["shape"])


def read_pickle(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns views into a mapped torch pickle, by name; no code of the pickle is run.

    Raises:
        ValueError: torch is not installed, or the file is no torch checkpoint.
    """
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{path} is a torch pickle: `pip install 'mmcot_jax[convert]'` to read it"
        ) from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is no torch checkpoint ({reason}); fetch it again") from None
    state = loaded.get("state_dict", loaded)
    tensors = {name: x for name, x in state.items() if isinstance(x, torch.Tensor)}
    return {
        # numpy has no bfloat16 of its own, so its bytes are viewed as integers
        name: x.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        if x.dtype == torch.bfloat16
        else x.numpy()
        for name, x in tensors.items()
    }


def forget(view: np.ndarray) -> None:
    """Releases the memory of a mapped file's pages; later reads load them again."""
    base = view
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)


def read_folder(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Returns all tensors of a file, or of a folder with model.safetensors or its .index.json.

    Raises:
        ValueError: no weights there.
    """
    path = pathlib.Path(path)
    if path.is_file():
        return read(path)
    if not path.is_dir():
        nearest = next(p for p in path.absolute().parents if p.is_dir())
        raise ValueError(f"no weights at {path}: {_holds(nearest)}; {_FETCH}")
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        if (path / "model.safetensors").is_file():
            return read(path / "model.safetensors")
        raise ValueError(f"no model.safetensors or its index in {path}: {_holds(path)}; {_FETCH}")
    files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    absent = [name for name in files if not (path / name).is_file()]
    if absent:
        raise ValueError(f"{index} names {', '.join(absent)}, not in {path}; fetch what is missing")
    return {name: tensor for file in files for name, tensor in read(path / file).items()}


_FETCH = "download a checkpoint there (`hf download NAME --local-dir FOLDER`) or give its folder"


def _holds(folder: pathlib.Path, most: int = 10) -> str:
    names = sorted(p.name for p in folder.iterdir())
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{folder} holds {', '.join(names[:most]) or 'nothing'}{more}"


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
