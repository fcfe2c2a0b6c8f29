"""Reads and writes Hugging Face's files: weights by a key table, PEFT adapters, tokenizers.

Axes: L layers, R adapter rank; kernels are [in out].
"""

import json
import math
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from tokenizers import Tokenizer

from mmcot_jax import files, hf_arrays, quantize, safetensors_io, torch_io
from mmcot_jax.file_kind import file_kind
from mmcot_jax.hf_arrays import Tensors as Tensors
from mmcot_jax.hf_config import read_json
from mmcot_jax.keytable import Path, Table, adapter_table, check, slots

WHOLE = ("model.safetensors", "pytorch_model.bin")
"""Files of a folder's weights; the first that is there, or of which there is an index, is read."""


def read_file(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Returns all tensors of a file of safetensors or torch's, by name.

    Raises:
        ValueError: a file of another kind, or a damaged one.
    """
    if torch_io.is_torch(path) or pathlib.Path(path).suffix in (".bin", ".ckpt", ".pt", ".pth"):
        return torch_io.read(path)
    return safetensors_io.read(path)


def read_folder(path: str | pathlib.Path, names: Sequence[str] = WHOLE) -> dict[str, np.ndarray]:
    """Returns all tensors of a file, or of a folder with one of `names` or its shards and index.

    Raises:
        ValueError: no weights there, an index that does not agree with its shards, or as
            `read_file`.
    """
    path = pathlib.Path(path)
    if path.is_file():
        return read_file(path)
    if not path.is_dir():
        nearest = next(p for p in path.absolute().parents if p.is_dir())
        raise ValueError(f"no weights at {path}: {_holds(nearest)}; {_FETCH}")
    for name in names:
        if (path / name).is_file():
            return read_file(path / name)
        if (path / f"{name}.index.json").is_file():
            return _read_shards(path / f"{name}.index.json")
    raise ValueError(
        f"no {' or '.join(names)}, whole or in shards with an index, in {path}: {_holds(path)}; "
        f"{_FETCH}"
    )


_FETCH = "download a checkpoint there (`hf download NAME --local-dir FOLDER`) or give its folder"


def _read_shards(index: pathlib.Path) -> dict[str, np.ndarray]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise ValueError(f"{index} has no weight_map of names to files; fetch it again")
    shards, folder = sorted(set(places.values())), index.parent
    if absent := [name for name in shards if not (folder / name).is_file()]:
        listed = ", ".join(absent)
        raise ValueError(f"{index} names {listed}, not in {folder}; fetch what is missing")
    read = {file: read_file(folder / file) for file in shards}
    if lost := [name for name, file in places.items() if name not in read[file]]:
        raise ValueError(
            f"{index} says that {lost[0]} is in {places[lost[0]]}, which lacks it"
            f"{f' and {len(lost) - 1} more' if lost[1:] else ''}; fetch both again"
        )
    every = {name: tensor for tensors in read.values() for name, tensor in tensors.items()}
    return every | {name: read[file][name] for name, file in places.items()}


def _holds(folder: pathlib.Path, most: int = 10) -> str:
    names = sorted(p.name for p in folder.iterdir())
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{folder} holds {', '.join(names[:most]) or 'nothing'}{more}"


def load(
    table: Table, source: str | pathlib.Path | Tensors, like: PyTree, name: str = ""
) -> PyTree:
    """Reads a checkpoint into parameters on their devices, cast to their dtypes.

    Each device's shard is read by itself, so the host never holds a checkpoint, only the shards of
    one parameter. A weight that is a `QArray` in `like` is quantised layer by layer on the way.
    `source` is a folder, a file, or open tensors, which errors call `name`. `like`
    has a `ShapeDtypeStruct` per parameter; without a sharding it is put on one device.

    Raises:
        ValueError: nothing at `source`; missing, unexpected and misshapen tensors, all listed; or
            tensors that are no floats.
    """
    tensors = source if isinstance(source, Mapping) else read_folder(source)
    leaves = flatten(like)
    wanted = slots(table, {path: leaf.shape for path, leaf in leaves.items()})
    found = {name: tensor.shape for name, tensor in tensors.items()}
    check(table, wanted, found, name or str(source))
    named = (slot.name for group in wanted.values() for slot in group)
    if odd := [n for n in named if not jnp.issubdtype(tensors[n].dtype, jnp.floating)]:
        raise ValueError(
            f"weights {name or source}: {odd[0]} is {tensors[odd[0]].dtype}"
            f"{f', as {len(odd) - 1} more are' if odd[1:] else ''}; give weights in float32, "
            "float16 or bfloat16, not quantised ones"
        )
    placed = {path: hf_arrays.place(wanted[path], tensors, leaf) for path, leaf in leaves.items()}
    structure = jax.tree.structure(like, is_leaf=quantize.is_quantized)
    return jax.tree.unflatten(structure, list(placed.values()))


def save(
    table: Table,
    tree: PyTree,
    folder: str | pathlib.Path,
    dtype: Any = None,
    max_bytes: int = 5_000_000_000,
) -> list[pathlib.Path]:
    """Writes parameters as safetensors, one file or shards with an index; returns the files.

    One parameter at a time is on the host; `dtype` casts all of them.
    """
    entries, arrays = _export(table, tree, dtype)
    return safetensors_io.write_folder(folder, entries, arrays, max_bytes)


def save_file(table: Table, tree: PyTree, path: str | pathlib.Path, dtype: Any = None) -> None:
    """Writes parameters as one safetensors file."""
    safetensors_io.write(pathlib.Path(path), *_export(table, tree, dtype))


def _export(table: Table, tree: PyTree, dtype: Any):
    leaves = flatten(tree)
    wanted = slots(table, {path: leaf.shape for path, leaf in leaves.items()})
    dtypes = {path: np.dtype(dtype or leaf.dtype) for path, leaf in leaves.items()}
    entries = [
        safetensors_io.Entry(slot.name, slot.shape, dtypes[path])
        for path, group in wanted.items()
        for slot in group
    ]

    def arrays():
        for path, group in wanted.items():
            parameter = jax.device_get(leaves[path])
            for slot in group:
                yield slot.write(parameter).astype(dtypes[path])

    return entries, arrays()


def flatten(tree: PyTree) -> dict[Path, Any]:
    """Returns the leaves of nested dicts by path, in jax's order; quantised weights are leaves."""
    leaves, _ = jax.tree.flatten_with_path(tree, is_leaf=quantize.is_quantized)
    return {_names(path): leaf for path, leaf in leaves}


def _names(path: tuple) -> Path:
    return tuple(key.key for key in path)


# --- tokenizers ------------------------------------------------------------------------------


def find_tokenizer(
    path: str | pathlib.Path, advice: str, names: Sequence[str] = ("tokenizer.json",)
) -> pathlib.Path:
    """Returns the file at `path`, or the first of `names` that a folder holds.

    Raises:
        ValueError: no such file, followed by `advice`.
    """
    path = pathlib.Path(path)
    files = [path / name for name in names] if path.is_dir() else [path]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise ValueError(f"model.tokenizer: no tokenizer.json at {path}; {advice}")
    return file


def read_tokenizer(
    path: str | pathlib.Path, advice: str, names: Sequence[str] = ("tokenizer.json",)
) -> Tokenizer:
    """Reads a tokenizer.json, found as by `find_tokenizer`.

    It neither truncates nor pads, and has no dropout, whatever the file says: transformers saves
    what its last call did.

    Raises:
        ValueError: no such file, followed by `advice`; or a file that is not a tokenizer.
    """
    file = find_tokenizer(path, advice, names)
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exceptions
        kind = file_kind(file)
        reason = error if "JSON" in kind else kind
        raise ValueError(f"model.tokenizer: {file} is not a tokenizer.json ({reason})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if getattr(tokenizer.model, "dropout", None):
        tokenizer.model.dropout = None
    return tokenizer


# --- adapters in PEFT's format ---------------------------------------------------------------

ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")


def save_adapter(
    table: Table,
    lora: PyTree,
    folder: str | pathlib.Path,
    *,
    alpha: float | int,
    dropout: float | int,
    base: str,
) -> None:
    """Writes adapter_model.safetensors and adapter_config.json, as PEFT reads them.

    `table` is the base's; `base` names the weights that the adapters belong to.
    """
    leaves = flatten(lora)
    names = adapter_table(table, tuple(leaves))
    save_file(names, lora, pathlib.Path(folder) / "adapter_model.safetensors")
    adapted = {r.upstream.removeprefix("base_model.model.").split(".lora_")[0] for r in names.rules}
    modules = _modules(r.upstream for r in names.rules)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank(lora),
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "target_modules": sorted(modules),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
    }
    if others := _namesakes(table, adapted, modules):
        config["exclude_modules"] = others
    path = pathlib.Path(folder) / "adapter_config.json"
    files.write_text(path, json.dumps(config, indent=2) + "\n")


def _namesakes(table: Table, adapted: set[str], modules: set[str]) -> str:
    """Returns a regex of layers without an adapter whose last name part an adapted layer has.

    PEFT selects layers by the last part of their name, so a decoder's up_proj would otherwise
    select a vision tower's too.
    """
    linear = (r.upstream.removesuffix(".weight") for r in table.rules if r.path[-1] == "kernel")
    others = (n for n in linear if n not in adapted and n.split(".")[-1] in modules)
    return "|".join(re.escape(name).replace(r"\{layer\}", r"\d+") for name in others)


def load_adapter(
    table: Table, folder: str | pathlib.Path, like: PyTree, *, alpha: float | int
) -> PyTree:
    """Reads a PEFT adapter's folder into adapters on their devices; `table` is the base's.

    Raises:
        ValueError: no adapter there, one of a kind, rank, alpha or targets that this model does
            not have, or tensors that do not fit, all listed.
    """
    folder = pathlib.Path(folder)
    config = _read_adapter_config(folder / "adapter_config.json")
    theirs, ours = (config["r"], config["lora_alpha"]), (rank(like), alpha)
    if theirs[0] != ours[0] or not math.isclose(theirs[1], ours[1], rel_tol=1e-6):
        stabilised = " (use_rslora: its own times the root of the rank)"
        raise ValueError(
            f"adapter {folder} has rank {theirs[0]} and alpha {theirs[1]:.9g}"
            f"{stabilised if config.get('use_rslora') else ''}, model.lora has rank {ours[0]} and "
            f"alpha {ours[1]:.9g}; set model.lora.rank={theirs[0]} and "
            f"model.lora.alpha={theirs[1]:.9g}, or give another adapter"
        )
    names = adapter_table(table, tuple(flatten(like)))
    found = read_folder(folder, ADAPTERS)
    tensors = {_renamed(name, table.older): tensor for name, tensor in found.items()}
    theirs, ours = (_modules(found) for found in (tensors, (r.upstream for r in names.rules)))
    if theirs != ours:
        raise ValueError(
            f"adapter {folder} adapts {', '.join(sorted(theirs))}; model.lora.targets adapts "
            f"{', '.join(sorted(ours))}; set model.lora.targets to the layers of the adapter"
        )
    return load(names, tensors, like, str(folder))


PLAIN = (
    "peft_type", "r", "lora_alpha", "use_rslora", "init_lora_weights", "bias", "task_type",
    "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "target_modules", "exclude_modules", "lora_dropout", "megatron_core", "qalora_group_size",
    "eva_config", "runtime_config",
)  # fmt: skip
"""Keys of adapter_config.json that a plain LoRA adapter may have set; others make another model."""
INITIAL = (True, False, None, "gaussian", "eva", "orthogonal")
"""Initialisations that leave the base as it is; "pissa", "olora", "corda" and "loftq" change it."""


def _read_adapter_config(path: pathlib.Path) -> dict[str, Any]:
    """Returns adapter_config.json, its alpha that of the scale alpha / r."""
    if not path.is_file():
        raise ValueError(
            f"no adapter in {path.parent}: give a folder with adapter_config.json and "
            "adapter_model.safetensors, as PEFT writes it"
        )
    config = read_json(path)
    kind, size, alpha = (config.get(name) for name in ("peft_type", "r", "lora_alpha"))
    if kind is None or type(size) is not int or size < 1 or type(alpha) not in (int, float):
        raise ValueError(f"{path} is no PEFT config of a LoRA adapter; export it again")
    used = [f"peft_type {kind}"] if kind != "LORA" else []
    used += [name for name, value in config.items() if value and name not in PLAIN]
    used += ["bias"] if config.get("bias", "none") != "none" else []
    if used:
        raise ValueError(f"{path} uses {', '.join(used)}; only plain LoRA fits, without them")
    start = config.get("init_lora_weights")
    if start not in INITIAL:
        raise ValueError(
            f"{path} has init_lora_weights {start!r}, which changed the base that the adapter "
            "belongs to; save it as a plain adapter of the first base "
            "(path_initial_model_for_weight_conversion of PEFT's save_pretrained)"
        )
    return config | {"lora_alpha": alpha * math.sqrt(size) if config.get("use_rslora") else alpha}


def _renamed(name: str, older: Mapping[str, str]) -> str:
    """Returns an adapter's name with today's prefix."""
    first = "base_model.model."
    own = name.removeprefix(first)
    if not own.startswith(tuple(older.values())):
        for old, new in older.items():
            if own.startswith(old):
                return first + new + own.removeprefix(old)
    return name


def _modules(names: Iterable[str]) -> set[str]:
    """Returns the last name parts of the layers that have an adapter: q_proj, v_proj."""
    return {n.split(".lora_")[0].split(".")[-1] for n in names if ".lora_" in n}


def rank(lora: PyTree) -> int:
    """Returns the rank of adapters."""
    return next(leaf.shape[-1] for path, leaf in flatten(lora).items() if path[-1] == "a")


def merge(params: PyTree, lora: PyTree, alpha: float | int, dtype: Any = None) -> PyTree:
    """Returns parameters with their adapters merged: W + alpha / R * A B, summed in float32.

    Adapted kernels are then rounded to `dtype`, by default their own. Quantised weights, adapted or
    not, are dequantised first, to float32 by default: the model that the adapters were trained on.
    """
    adapters, scale = flatten(lora), alpha / rank(lora)

    def merged(path, leaf):
        path = _names(path)
        a, b = (adapters.get((*path[:-1], name)) for name in "ab")
        if quantize.is_quantized(leaf):
            leaf = quantize.dequantize(leaf)
            if a is None:
                return leaf.astype(dtype or leaf.dtype)
        if path[-1] != "kernel" or a is None:
            return leaf
        delta = scale * jnp.einsum("...ir,...ro->...io", a, b, precision="highest")
        return (leaf.astype(jnp.float32) + delta).astype(dtype or leaf.dtype)

    return jax.tree.map_with_path(merged, params, is_leaf=quantize.is_quantized)
