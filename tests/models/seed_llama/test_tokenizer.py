"""SEED's picture tokenizer against upstream's numbers, and its laws."""

import importlib.util
import json
import pathlib
from io import BytesIO
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mmcot_jax import hf
from mmcot_jax.keytable import slots
from mmcot_jax.models.seed_llama.config import SeedConfig
from mmcot_jax.models.seed_llama.keys import seed_table
from mmcot_jax.models.seed_llama.preprocess import preprocess
from mmcot_jax.models.seed_llama.tokenizer import QFormer, SeedTokenizer, from_pixels, run
from mmcot_jax.nn.vit import Block, VitConfig

GOLDEN = pathlib.Path(__file__).parents[2] / "golden"
SMALL = SeedConfig(
    resolution=28, patch=7, vit_width=24, vit_layers=2, vit_heads=3, vit_mlp=40, queries=6,
    width=20, layers=3, heads=2, mlp=36, codes=48, code_width=10, image_layers=2, image_heads=4,
    down=(16, 12, 8), embedding=14,
).check()  # fmt: skip


class Golden(NamedTuple):
    """A tokenizer, its weights, and what upstream's gave."""

    c: SeedConfig
    params: dict
    io: dict

    def __call__(self, method, x):
        return np.asarray(jax.jit(run, static_argnums=(0, 2))(self.c, self.params, method, x))


def shapes(c):
    pixels = jnp.zeros((1, c.resolution, c.resolution, 3))
    return jax.eval_shape(SeedTokenizer(c).init, jax.random.key(0), pixels)["params"]


def near(ours, theirs, share=1e-4):
    np.testing.assert_allclose(ours, theirs, atol=share * np.abs(theirs).max())


@pytest.fixture(scope="module")
def small():
    """Weights by their names, as the script that made the file draws them."""
    spec = importlib.util.spec_from_file_location("drawn", GOLDEN / "drawn.py")
    drawn = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawn)
    like = {"seed": shapes(SMALL)}
    wanted = slots(seed_table(SMALL), {path: x.shape for path, x in hf.flatten(like).items()})
    tensors = {s.name: drawn.weight(s.name, s.shape) for group in wanted.values() for s in group}
    io = dict(np.load(GOLDEN / "seed.npz"))
    tensors["quantize.embedding.weight"] = io["codebook"]
    return Golden(SMALL, hf.load(seed_table(SMALL), tensors, like)["seed"], io)


def test_queries_latents_codes_and_embeddings_are_upstreams(small):
    io = small.io

    @jax.jit
    def everything(params, pixels, drawn):
        made = {
            name: run(SMALL, params, name, pixels) for name in ("features", "latents", "encode")
        }
        both = jnp.concatenate([made["encode"], drawn])
        return made | {"embed": run(SMALL, params, "embed", both)}

    made = everything(small.params, io["pixels"], io["drawn"])
    near(made["features"], io["queries"])
    near(made["latents"], io["latents"])
    np.testing.assert_array_equal(made["encode"], io["codes"])
    near(made["embed"], np.concatenate([io["embedding"], io["drawn_embedding"]]))
    assert len(np.unique(io["codes"], axis=0)) == 3  # one for each picture


def test_a_query_sees_those_before_it_and_none_after(small):
    random = np.random.default_rng(0)
    queries, seen = (
        jnp.asarray(random.normal(size=shape), jnp.float32) for shape in ((1, 6, 20), (1, 17, 24))
    )
    changed = queries.at[0, 3, 0].add(1)

    @jax.jit
    def ask(queries, seen):
        return QFormer(SMALL).apply({"params": small.params["qformer"]}, queries, seen)

    moved = np.abs(ask(changed, seen) - ask(queries, seen)).max(-1)[0]
    assert (moved[:3] == 0).all()
    assert (moved[3:] > 1e-3).all()


def test_every_second_layer_looks_at_the_picture(small):
    layers = small.params["qformer"]
    assert [f"layer_{i}" for i in range(3) if "cross" in layers[f"layer_{i}"]] == [
        "layer_0",
        "layer_2",
    ]


def test_pixels_are_normalised_as_clips():
    black, white = (jnp.full((1, 1, 1, 3), x, jnp.uint8) for x in (0, 255))
    near(from_pixels(black).ravel(), [-1.7922626, -1.7520971, -1.4802198], 1e-6)
    near(from_pixels(white).ravel(), [1.9303361, 2.0748837, 2.1458968], 1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"patch": 5}, "model.seed.patch 5 does not divide resolution 28; choose a divisor of it"),
        ({"heads": 3}, "model.seed.heads 3 does not divide width 20"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        SMALL._replace(**fields).check()


# --- the released golden ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def released(reference):
    folder = reference / "golden" / "seed_tokenizer"
    sizes = json.loads((folder / "config.json").read_text())
    tiny = sizes["tiny"]
    c = SeedConfig(
        resolution=tiny["img"], patch=sizes["patch_size"], vit_width=tiny["vit_dim"],
        vit_layers=tiny["vit_depth"], vit_heads=tiny["vit_heads"], vit_mlp=sizes["vit_mlp_dim"],
        queries=sizes["num_query_token"], width=tiny["hidden"], layers=tiny["layers"],
        heads=tiny["heads"], mlp=sizes["qformer_intermediate"], codes=sizes["n_embed"],
        code_width=sizes["codebook_embed_dim"], image_layers=sizes["decode_depth"],
        image_heads=sizes["blocks_num_heads"], down=tuple(sizes["image_down"][1:]),
        embedding=sizes["image_features_dim"],
    ).check()  # fmt: skip
    like = {"seed": shapes(c)}
    params = hf.load(seed_table(c), folder / "weights.safetensors", like)["seed"]
    return Golden(c, params, dict(np.load(folder / "io.npz")))


def photos(io):
    names = [name for name in io if name.startswith("in_photo")]
    names.sort(key=lambda name: (len(name), name))
    return [Image.open(BytesIO(io[name].tobytes())) for name in names]


def nhwc(x):
    return x.transpose(0, 2, 3, 1)


@pytest.mark.reference
def test_photos_become_the_released_pixels(released):
    side = released.c.resolution
    cropped = np.stack([preprocess(photo, side) for photo in photos(released.io)])
    ours = np.asarray(from_pixels(jnp.asarray(cropped)))
    np.testing.assert_allclose(ours, nhwc(released.io["out_transform_pixels"]), atol=1e-6)
    square = preprocess(photos(released.io)[0], side, variant="square")[None]
    theirs = nhwc(released.io["out_transform_pixels_keep_ratio_false"])
    np.testing.assert_allclose(from_pixels(jnp.asarray(square)), theirs, atol=1e-6)


@pytest.mark.slow
@pytest.mark.reference
def test_every_stage_of_the_released_tokenizer_is_reproduced(released):
    out = {name.removeprefix("out_"): x for name, x in released.io.items()}
    pixels = jnp.asarray(nhwc(out["transform_pixels"]))

    def run_all(params, pixels, codes):
        _, state = SeedTokenizer(released.c).apply(
            {"params": params}, pixels, capture_intermediates=True, mutable="intermediates"
        )
        return state["intermediates"]

    with jax.default_matmul_precision("highest"):
        inner = jax.jit(run_all)(released.params, pixels, jnp.asarray(out["codes"]))
    got = lambda *path: _at(inner, (*path, "__call__"))  # noqa: E731
    near(got("vit"), out["vit_out"])
    near(got("vision_norm"), out["ln_vision_out"])
    near(got("qformer", "norm"), out["qformer_embeddings"])
    for layer in range(released.c.layers):
        near(got("qformer", f"layer_{layer}"), out[f"qformer_layer{layer}"])
    near(got("encode_1"), out["pre_quant"])
    near(got("decode_1"), out["query_output_up"])
    near(got("image_blocks"), out["blocks_image_out"])
    near(got(f"down_{len(released.c.down) - 1}"), out["image_down"])
    near(got("embed_image"), out["image_embedding"])
    near(released("embed", out["codes"]), out["image_embedding"])
    near(released("embed", released.io["in_random_codes"]), out["image_embedding_random_codes"])
    np.testing.assert_array_equal(released("encode", pixels), out["codes"])
    vectors = np.asarray(released.params["codebook"])[out["codes"]]
    np.testing.assert_allclose(vectors, out["z_quantised"], atol=1e-6)


@pytest.mark.slow
@pytest.mark.reference
def test_every_block_of_the_released_vit_is_reproduced(released):
    c, out = released.c, released.io
    vit = VitConfig(c.vit_width, c.vit_layers, c.vit_heads, c.vit_mlp, key_bias=False)
    block = jax.jit(lambda own, x: Block(vit).apply({"params": own}, x)[0])
    for layer in range(1, c.vit_layers):
        own = jax.tree.map(lambda x: x[layer], released.params["vit"]["blocks"]["layers"])  # noqa: B023
        before = jnp.asarray(out[f"out_vit_block{layer - 1}"])
        near(block(own, before), out[f"out_vit_block{layer}"])


def _at(tree, path):
    for name in path:
        tree = tree[name]
    return np.asarray(tree[0])
