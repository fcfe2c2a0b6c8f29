"""Folders of weights in the forms that checkpoints are published in."""

import json
import pathlib

import numpy as np

from mmcot_jax import safetensors_io


def as_bin(folder: pathlib.Path, shards: int = 2) -> None:
    """Turns a folder's model.safetensors into shards of torch's format and their index."""
    import torch

    tensors = safetensors_io.read(folder / "model.safetensors")
    places = {}
    for i in range(shards):
        file = f"pytorch_model-{i + 1:05}-of-{shards:05}.bin"
        own = {n: torch.tensor(np.array(x)) for n, x in list(tensors.items())[i::shards]}
        torch.save(own, folder / file)
        places |= dict.fromkeys(own, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "model.safetensors").unlink()


def rename(folder: pathlib.Path, change) -> None:
    """Writes model.safetensors anew, each tensor's name changed by `change`."""
    old = safetensors_io.read(folder / "model.safetensors")
    tensors = {change(n): np.array(x) for n, x in old.items()}
    entries = [safetensors_io.Entry(n, x.shape, x.dtype) for n, x in tensors.items()]
    safetensors_io.write(folder / "model.safetensors", entries, tensors.values())
