"""Folders of weights in the forms that are published, and how transformers reads them."""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax import hf, safetensors_io
from mmcot_jax.keytable import slots
from mmcot_jax.models.chameleon import keys as chameleon_keys


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
    size = sum(x.nbytes for x in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def rename(folder: pathlib.Path, change) -> None:
    """Writes model.safetensors anew, each tensor's name changed by `change`."""
    old = safetensors_io.read(folder / "model.safetensors")
    tensors = {change(n): np.array(x) for n, x in old.items()}
    entries = [safetensors_io.Entry(n, x.shape, x.dtype) for n, x in tensors.items()]
    safetensors_io.write(folder / "model.safetensors", entries, tensors.values())


def theirs(folder):
    """transformers' model of a folder: every weight is there, and none is left over."""
    transformers = pytest.importorskip("transformers")
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    model, info = getattr(transformers, architecture).from_pretrained(
        folder, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    assert not info["mismatched_keys"], info
    return model.eval()


def their_logits(model):
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return model(input_ids=torch.arange(5, 15)[None]).logits.float().numpy()


def original(backbone, params, folder):
    """Writes Anole's original release: two pickles, params.json and text_tokenizer.json."""
    import torch

    c, prefix = backbone.c, chameleon_keys.VQGAN_PREFIX
    table = chameleon_keys.original_table(backbone.vqgan, c.heads, c.kv_heads)
    leaves = hf.flatten(params)
    groups = slots(table, {path: x.shape for path, x in leaves.items()})
    tensors = {s.name: s.write(np.asarray(leaves[path])) for path, g in groups.items() for s in g}
    tensors = {name: torch.tensor(np.array(x)) for name, x in tensors.items()}
    for name in ("models/7b", "tokenizer"):
        (folder / name).mkdir(parents=True)
    words = {n: x for n, x in tensors.items() if not n.startswith(prefix)}
    vqgan = {n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)}
    torch.save(words, folder / "models/7b/consolidated.pth")
    torch.save({"state_dict": vqgan}, folder / "tokenizer/vqgan.ckpt")
    sizes = {"dim": c.width, "n_layers": c.layers, "n_heads": c.heads, "norm_eps": c.eps}
    sizes["n_kv_heads"] = c.kv_heads
    (folder / "models/7b/params.json").write_text(json.dumps({"model": sizes}))
    backbone.renderer.tokenizer.save(str(folder / "tokenizer/text_tokenizer.json"))


def one_norm_for_all_heads(params):
    """Chameleon's parameters as the original release can hold them."""
    attention = params["decoder"]["layers"]["attention"]
    norms = {
        name: {part: jnp.broadcast_to(x[:, :1], x.shape) for part, x in attention[name].items()}
        for name in ("q_norm", "k_norm")
    }
    layers = params["decoder"]["layers"] | {"attention": attention | norms}
    return params | {"decoder": params["decoder"] | {"layers": layers}}
