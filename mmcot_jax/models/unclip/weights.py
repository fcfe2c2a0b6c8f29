"""Reads and writes unCLIP's weights: a folder of diffusers, or one file of ours."""

import pathlib
from functools import partial

import jax
import numpy as np
from jaxtyping import PyTree

from mmcot_jax import hf
from mmcot_jax.keytable import Rule, Table
from mmcot_jax.models.clip import config as clip_config
from mmcot_jax.models.clip import keys as clip_keys
from mmcot_jax.models.clip.model import Text
from mmcot_jax.models.clip.preprocess import read_words
from mmcot_jax.models.clip.weights import FILES
from mmcot_jax.models.unclip import config, keys
from mmcot_jax.models.unclip.config import UnclipConfig

PART = tuple(
    f"diffusion_pytorch_model{variant}.{kind}"
    for variant in ("", ".fp16")
    for kind in ("safetensors", "bin")
)
"""Files of a part's weights in a folder of diffusers; the first that is there is read."""
NORMALIZER = "image_normalizer"


def load(c: UnclipConfig, source: pathlib.Path, like: PyTree) -> PyTree:
    """Reads all parameters onto their devices.

    `source` is a folder of diffusers with unet, vae, image_normalizer, scheduler, text_encoder and
    tokenizer, or a safetensors file that `save` wrote.

    Raises:
        ValueError: a part that is missing, another model's, or whose tensors do not fit, all
            listed.
    """
    if source.is_file():
        return hf.load(_table(like), source, {"unclip": like})["unclip"]
    missing = [
        part
        for part in ("unet", "vae", NORMALIZER, "text_encoder", "tokenizer", "scheduler")
        if not (source / part).is_dir()
    ]
    if missing:
        raise ValueError(
            f"no {' and no '.join(missing)} in {source}: model.unclip_weights is a folder of "
            "diffusers, as stable-diffusion-2-1-unclip is released"
        )
    config.check_folder(c, source)
    params = {part: _load_part(part, source / part, like[part]) for part in ("unet", "vae")}
    normalizer = hf.read_folder(source / NORMALIZER, PART)
    own = {"mean": (c.embedding,), "std": (c.embedding,)}
    if {n: x.size for n, x in normalizer.items()} != {n: s[0] for n, s in own.items()}:
        found = ", ".join(f"{n} {list(x.shape)}" for n, x in normalizer.items())
        raise ValueError(f"{source / NORMALIZER} has {found}; mean and std of {c.embedding} fit")
    params["normalizer"] = {
        name: _put(np.asarray(x, np.float32).reshape(-1), like["normalizer"][name])
        for name, x in normalizer.items()
    }
    params["prompt"] = _put(empty_prompt(source, c), like["prompt"])
    return params


def _load_part(part: str, folder: pathlib.Path, like: PyTree) -> PyTree:
    tensors = hf.read_folder(folder, PART)
    names = keys.today(tensors)
    own = {part: like}
    table = keys.table(part, {path: x.shape for path, x in hf.flatten(own).items()})
    tensors = {names[name]: _matrix(names[name], x) for name, x in tensors.items()}
    return hf.load(table, tensors, own, str(folder))[part]


def _matrix(name: str, x: np.ndarray) -> np.ndarray:
    """Older files keep the attention's projections as 1 x 1 convolutions."""
    is_projection = ".attentions." in name and x.ndim == 4 and x.shape[2:] == (1, 1)
    return x[..., 0, 0] if is_projection else x


def empty_prompt(source: pathlib.Path, c: UnclipConfig) -> np.ndarray:
    """Returns the text encoder's states of an empty text, float32 [T P]."""
    folder = source / "text_encoder"
    sizes = clip_config.read(folder)
    if sizes is None:
        raise ValueError(f"no config.json in {folder}; fetch the text encoder whole")
    if (sizes.positions, sizes.text.width) != (c.prompt_tokens, c.unet.prompt_width):
        raise ValueError(
            f"{folder} gives {sizes.positions} states of {sizes.text.width}; model.unclip has "
            f"prompt_tokens {c.prompt_tokens} and unet.prompt_width {c.unet.prompt_width}"
        )
    ids = read_words(source / "tokenizer", sizes.positions).ids([""])
    if ids.max() >= sizes.vocab:
        raise ValueError(
            f"the tokenizer in {source / 'tokenizer'} has the id {ids.max()}, and {folder} has "
            f"{sizes.vocab} ids; fetch both again"
        )
    shapes = jax.eval_shape(Text(sizes).init, jax.random.key(0), ids)["params"]
    tensors = hf.read_folder(folder, FILES)
    if not any(name.startswith("text_model.") for name in tensors):  # transformers 5 writes none
        tensors = {f"text_model.{name}": x for name, x in tensors.items()}
    params = hf.load(clip_keys.text_table(), tensors, {"text": shapes}, str(folder))["text"]
    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(Text(sizes).apply)({"params": params}, ids)[0], np.float32)


def _put(x: np.ndarray, like: jax.ShapeDtypeStruct) -> jax.Array:
    sharding = getattr(like, "sharding", None)
    x = x.astype(like.dtype)
    return jax.device_put(x) if sharding is None else jax.make_array_from_callback(
        x.shape, sharding, partial(_slice, x)
    )  # fmt: skip


def _slice(x: np.ndarray, index: tuple[slice, ...]) -> np.ndarray:
    return x[index]


def save(params: PyTree, path: pathlib.Path, dtype: str | None = None) -> None:
    """Writes one safetensors file, which `load` reads."""
    hf.save_file(_table(params), {"unclip": params}, path, dtype)


def _table(params: PyTree) -> Table:
    """Our names: the paths of our parameters."""
    paths = [path for path in hf.flatten({"unclip": params})]
    return Table(tuple(Rule(".".join(path[1:]), path) for path in paths))
