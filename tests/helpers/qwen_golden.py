"""Tiny Qwen2.5-VLs with what the upstream implementation makes of them, read alike.

`own` is tests/golden/qwen25vl.npz (make_qwen25vl.py); the others are the reference data's.
"""

import io
import json
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Punctuation, Sequence, WhitespaceSplit

from mmcot_jax import data, hf, safetensors_io
from mmcot_jax.example import Row
from mmcot_jax.models.qwen25vl import keys
from mmcot_jax.models.qwen25vl.backbone import Qwen25VL
from mmcot_jax.models.qwen25vl.config import VisionConfig
from mmcot_jax.models.qwen25vl.preprocess import preprocess, to_windows
from mmcot_jax.models.qwen25vl.render import MARKS, Qwen25VLRenderer, positions
from mmcot_jax.nn.decoder import DecoderConfig

HERE = pathlib.Path(__file__).parents[1] / "golden" / "qwen25vl.npz"


class Golden(NamedTuple):
    """A model, its weights, and the upstream inputs and outputs."""

    config: dict[str, Any]
    """The set's own: every size is read from it."""
    backbone: Qwen25VL
    variables: dict
    arrays: dict[str, np.ndarray]
    photos: list[np.ndarray]
    cases: list[dict[str, Any]]


def tokenizer(vocab: int, marks: dict[str, int]) -> Tokenizer:
    """The words w0, w1 ... and the marks at their ids."""
    names = {id: MARKS[name] for name, id in marks.items()}
    words = {names.get(id, f"w{id}"): id for id in range(vocab) if id in names or id < min(names)}
    made = Tokenizer(WordLevel(words, unk_token="w0"))
    made.pre_tokenizer = Sequence([WhitespaceSplit(), Punctuation()])
    made.add_special_tokens(list(names.values()))
    return made


def build(config: dict[str, Any], weights: dict[str, np.ndarray], *, tied: bool):
    """The backbone a golden's config describes, and its variables."""
    text, tower = config["text_config"], config["vision_config"]
    last = max(config["pad_token_id"], config["eos_token_id"])
    marks = {
        "pad": config["image_token_id"],
        "open": config["vision_start_token_id"],
        "close": config["vision_end_token_id"],
        "end": config["eos_token_id"],
        "end_of_text": config["pad_token_id"],
        "begin": last + 1,
    }
    vision = VisionConfig(
        width=tower["hidden_size"],
        depth=tower["depth"],
        heads=tower["num_heads"],
        mlp=tower["intermediate_size"],
        full=tuple(tower["fullatt_block_indexes"]),
        window=tower["window_size"],
        patch=tower["patch_size"],
        merge=tower["spatial_merge_size"],
        frames=tower["temporal_patch_size"],
    ).check()
    decoder = DecoderConfig(
        vocab=text["vocab_size"],
        width=text["hidden_size"],
        layers=text["num_hidden_layers"],
        heads=text["num_attention_heads"],
        kv_heads=text["num_key_value_heads"],
        mlp=text["intermediate_size"],
        eps=text["rms_norm_eps"],
        rope_theta=text["rope_parameters"]["rope_theta"],
        rope_sections=tuple(text["rope_parameters"]["mrope_section"]),
        qkv_bias=True,
        tied=tied,
        remat=False,
    )
    limits, context = config["image_processor"], text["max_position_embeddings"]
    renderer = Qwen25VLRenderer(
        tokenizer(text["vocab_size"], marks),
        vision,
        limits["min_pixels"],
        limits["max_pixels"],
        context=context,
    )
    backbone = Qwen25VL(decoder, vision, renderer, context=context)
    like = jax.eval_shape(backbone.init, jax.random.key(0))
    params = hf.load(keys.hf_table(tied=tied), weights, like["params"])
    return backbone, {"params": params}


def own(tied: bool = False) -> Golden:
    """The committed golden."""
    with np.load(HERE) as z:
        arrays = {name: z[name] for name in z}
    config = json.loads(str(arrays.pop("config")))
    weights = {
        name.removeprefix("weights/"): x.astype(np.float32)
        for name, x in arrays.items()
        if name.startswith("weights/") and not (tied and "lm_head" in name)
    }
    backbone, variables = build(config, weights, tied=tied)
    head = "tied" if tied else "untied"
    case = {
        "name": "own",
        "ids": arrays["in_ids"],
        "mask": arrays["in_mask"].astype(bool),
        "photos": [0, 2, 1],
        "positions": arrays["out_positions"],
        "logits": arrays[f"out_{head}_logits"],
        "greedy": arrays[f"out_{head}_greedy"],
    }
    photos = [arrays[name] for name in _photos(arrays)]
    return Golden(config, backbone, variables, arrays, photos, [case])


def shared(folder: pathlib.Path) -> Golden:
    """A golden of the reference data."""
    config = json.loads((folder / "config.json").read_text())
    with np.load(folder / "io.npz") as z:
        arrays = {name: z[name] for name in z}
    weights = safetensors_io.read(folder / "weights.safetensors")
    backbone, variables = build(config, weights, tied=config["tie_word_embeddings"])
    photos = [
        np.asarray(Image.open(io.BytesIO(arrays[name].tobytes())).convert("RGB"))
        for name in _photos(arrays)
    ]
    cases = [
        {
            "name": case["name"],
            "ids": arrays[f"in_{case['name']}_input_ids"],
            "mask": arrays[f"in_{case['name']}_attention_mask"].astype(bool),
            "photos": case["photos"],
            "positions": arrays[f"out_{case['name']}_position_ids"],
            "logits": arrays.get(f"out_{case['name']}_logits"),
            "greedy": arrays.get(f"out_{case['name']}_greedy_tokens"),
        }
        for case in config["cases"]
    ]
    return Golden(config, backbone, variables, arrays, photos, cases)


def _photos(arrays: dict[str, np.ndarray]) -> list[str]:
    names = (name for name in arrays if name.startswith("in_photo"))
    return sorted(names, key=lambda name: (len(name), name))


def rows(golden: Golden, case: dict[str, Any]) -> list[Row]:
    """A case's rows, unpadded, made of its ids and photos as the renderer makes them."""
    renderer, photos, out = golden.backbone.renderer, iter(case["photos"]), []
    pad, side = renderer.ids["pad"], renderer.vision.cell
    for ids, mask in zip(case["ids"], case["mask"], strict=True):
        tokens = ids[mask].astype(np.int32)
        before = np.concatenate([[False], tokens[:-1] == pad])
        starts = np.flatnonzero((tokens == pad) & ~before).tolist()
        images = [
            preprocess(
                golden.photos[next(photos)],
                min_pixels=renderer.min_pixels,
                max_pixels=renderer.max_pixels,
                factor=side,
            )
            for _ in starts
        ]
        grids = [(image.shape[0] // side, image.shape[1] // side) for image in images]
        out.append(
            Row(
                id=case["name"],
                tokens=tokens,
                positions=positions(len(tokens), starts, grids),
                loss=np.zeros(len(tokens), bool),
                windows=to_windows(images, starts, len(tokens), renderer.vision.cells, side),
            )
        )
    return out


def batch(golden: Golden, cases: list[dict[str, Any]], **slots):
    """Cases as one left-padded batch."""
    every = [row for case in cases for row in rows(golden, case)]
    padded = data.pad(every, longest(cases), "left", **slots)
    return jax.tree.map(jnp.asarray, padded)


def longest(cases: list[dict[str, Any]]) -> int:
    """Tokens of the longest case."""
    return max(case["ids"].shape[1] for case in cases)
