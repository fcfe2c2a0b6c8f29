"""A tiny unCLIP and CLIP, and folders of them as they are released."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from mmcot_jax import hf
from mmcot_jax.keytable import Table
from mmcot_jax.models.clip import keys as clip_keys
from mmcot_jax.models.clip import weights as clip_weights
from mmcot_jax.models.clip.config import ClipConfig, Tower
from mmcot_jax.models.clip.preprocess import BEGIN, END
from mmcot_jax.models.unclip import keys, paint
from mmcot_jax.models.unclip.config import UnclipConfig, UNetConfig, VaeConfig

CLIP = ClipConfig(Tower(16, 2, 2, 24), Tower(8, 2, 2, 12), 8, 4, 30, 7, 6)
UNCLIP = UnclipConfig(
    UNetConfig(4, (8, 16), (True, False), (2, 4), 1, 8, 4),
    VaeConfig(4, (8, 8), 1, 4),
    embedding=5,
    prompt_tokens=7,
    steps=3,
    size=16,
)


def loud(shapes, seed=0):
    """Random weights, larger than at initialisation."""
    random = np.random.default_rng(seed)

    def draw(path, x):
        about = float(path[-1].key in ("scale", "std"))
        return jnp.asarray(about + 0.3 * random.standard_normal(x.shape), x.dtype)

    return jax.tree.map_with_path(draw, shapes)


def clip_params():
    return loud(jax.eval_shape(lambda: clip_weights.init(CLIP, jax.random.key(0))))


def unclip_params():
    return loud(jax.eval_shape(lambda: paint.init(UNCLIP, jax.random.key(0))))


def edit(file, **values):
    """Sets values of a JSON file; None removes one."""
    found = json.loads(file.read_text()) | values
    file.write_text(json.dumps({name: x for name, x in found.items() if x is not None}))


def write_tokenizer(folder: pathlib.Path, pad: str) -> None:
    """vocab.json and merges.txt of CLIP's kind: letters, letters that end a word, marks."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["!", "a", "b", "c", "d", "a</w>", "b</w>", "c</w>", "d</w>", "ab</w>", "!</w>"]
    ids = {word: id for id, word in enumerate(words)} | {BEGIN: 28, END: 29}
    (folder / "vocab.json").write_text(json.dumps(ids))
    (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": {"content": pad}}))


def write_clip(folder: pathlib.Path, params) -> pathlib.Path:
    """A CLIP as transformers writes it."""
    write_tokenizer(folder, END)
    hf.save(clip_keys.table(), {"clip": params}, folder)
    vision, text = CLIP.vision, CLIP.text
    config = {
        "model_type": "clip",
        "projection_dim": CLIP.projection,
        "vision_config": _tower(vision) | {"image_size": CLIP.size, "patch_size": CLIP.patch},
        "text_config": _tower(text) | _text(),
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _tower(tower):
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    return dict(zip(names, tower, strict=False))


def _text():
    return {"vocab_size": CLIP.vocab, "max_position_embeddings": CLIP.positions}


def write_unclip(folder: pathlib.Path, params, text, older: bool = False) -> pathlib.Path:
    """An unCLIP as diffusers writes it; `older`: the autoencoder's names of that age."""
    unet, vae = UNCLIP.unet, UNCLIP.vae
    for part in ("unet", "vae"):
        own = {part: params[part]}
        table = keys.table(part, {path: x.shape for path, x in hf.flatten(own).items()})
        if older and part == "vae":
            table = Table(
                tuple(rule._replace(upstream=_older(rule.upstream)) for rule in table.rules)
            )
        (folder / part).mkdir(parents=True)
        hf.save_file(table, own, folder / part / "diffusion_pytorch_model.safetensors")
    down = ["CrossAttnDownBlock2D" if x else "DownBlock2D" for x in unet.attention]
    configs = {
        "unet": {"block_out_channels": unet.widths, "down_block_types": down,
                 "attention_head_dim": unet.heads, "layers_per_block": unet.blocks,
                 "cross_attention_dim": unet.prompt_width, "norm_num_groups": unet.groups,
                 "projection_class_embeddings_input_dim": 2 * UNCLIP.embedding},
        "vae": {"block_out_channels": vae.widths, "layers_per_block": vae.blocks,
                "latent_channels": vae.channels, "scaling_factor": vae.scale,
                "norm_num_groups": vae.groups},
    }  # fmt: skip
    for part, config in configs.items():
        (folder / part / "config.json").write_text(json.dumps(config))
    (folder / "scheduler").mkdir()
    scheduler = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
                 "prediction_type": "v_prediction", "steps_offset": 1}  # fmt: skip
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "image_normalizer").mkdir()
    table = Table(tuple(keys.Rule(name, ("n", name)) for name in ("mean", "std")))
    rows = {name: x[None] for name, x in params["normalizer"].items()}
    file = folder / "image_normalizer/diffusion_pytorch_model.safetensors"
    hf.save_file(table, {"n": rows}, file)
    write_tokenizer(folder / "tokenizer", "!")
    hf.save(clip_keys.text_table(), {"text": text}, folder / "text_encoder")
    config = {"model_type": "clip_text_model"} | _tower(CLIP.text) | _text()
    (folder / "text_encoder/config.json").write_text(json.dumps(config))
    return folder


def _older(name: str) -> str:
    for ours, theirs in (
        ("to_q", "query"),
        ("to_k", "key"),
        ("to_v", "value"),
        ("to_out.0", "proj_attn"),
    ):
        name = name.replace(f".{ours}.", f".{theirs}.")
    return name
