"""Reads torch's files of weights with torch's restricted unpickler. No jax."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from mmcot_jax.file_kind import PICKLE, ZIP, file_kind, first_bytes, is_safetensors

NESTED = ("state_dict", "model", "module")
"""Keys that training checkpoints keep their weights under."""


def is_torch(path: str | pathlib.Path) -> bool:
    """Returns whether a file begins as torch's do."""
    head = first_bytes(path)
    if is_safetensors(head):  # one whose header has 128 bytes begins as a pickle does
        return False
    return head.startswith((ZIP, PICKLE))


def read(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a torch file by name; no code of the pickle is run.

    Files of torch 1.6 and later are mapped; those of older versions are read into memory.

    Raises:
        ValueError: torch is not installed, or the file is no torch checkpoint of named tensors.
    """
    path = pathlib.Path(path)
    if not is_torch(path):
        raise ValueError(f"{path} is {file_kind(path)}, no torch checkpoint; fetch it again")
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{path} is a torch pickle: `pip install 'mmcot_jax[convert]'` to read it"
        ) from None
    mapped = first_bytes(path).startswith(ZIP)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged pickle raises errors of a dozen types
        raise ValueError(_refusal(path, error)) from None
    tensors = _named_tensors(loaded, torch, path)
    return {name: _to_numpy(x, torch, f"{path}: {name}") for name, x in tensors.items()}


def _refusal(path: pathlib.Path, error: Exception) -> str:
    text = re.sub(r"\x1b\[\d*m", "", str(error))
    if strange := re.search(r"(?:GLOBAL|class) ([\w.]+)", text):
        return (
            f"{path} holds {strange[1]} beside its weights, and a pickle of more than tensors can "
            "run code; save the weights alone, torch.save(model.state_dict(), FILE), or get them "
            "as safetensors"
        )
    reason = text.splitlines()[0] if text else type(error).__name__
    return f"{path} is a damaged torch checkpoint ({reason}); fetch it again"


def _named_tensors(loaded: Any, torch: Any, path: pathlib.Path) -> dict[str, Any]:
    state, found = loaded, {}
    if isinstance(loaded, Mapping):
        nested = (loaded[key] for key in NESTED if isinstance(loaded.get(key), Mapping))
        state = next(nested, loaded)
        found = {name: x for name, x in state.items() if isinstance(x, torch.Tensor)}
    if found:
        return found
    holds = type(state).__name__
    if isinstance(state, Mapping):
        holds = f"a dict of {', '.join(map(str, list(state)[:5])) or 'nothing'}"
    raise ValueError(
        f"{path} holds {holds}, not weights by name; save them with "
        "torch.save(model.state_dict(), FILE)"
    )


def _to_numpy(x: Any, torch: Any, name: str) -> np.ndarray:
    try:
        # numpy has no bfloat16 of its own, so its bytes are viewed as integers
        if x.dtype == torch.bfloat16:
            return x.detach().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return x.detach().numpy()
    except (TypeError, RuntimeError):
        layout = "" if x.layout == torch.strided else f" {x.layout}"
        raise ValueError(
            f"{name} is{layout} {x.dtype}; give weights in float32, float16 or bfloat16"
        ) from None
