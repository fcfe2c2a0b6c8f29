"""The decoder against transformers: logits, and continuations through the sampler."""

import dataclasses
import json
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.rollouts import sample_rows
from safetensors.numpy import load_file

from mmcot_jax import hf
from mmcot_jax.keytable import Table, adapter_table
from mmcot_jax.nn.decoder import Decoder, DecoderConfig
from mmcot_jax.nn.decoder_keys import LAYER_NORMS, QK_NORMS, decoder_rules
from mmcot_jax.nn.linear import Lora
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import SampleStatic
from mmcot_jax.types import Batch, Grammar

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


def table(c):
    same = LAYER_NORMS | (QK_NORMS if c.qk_norm else {})
    return Table(decoder_rules(same=same, tied=c.tied), ("*.vqmodel.*",))


class Golden(NamedTuple):
    """What a decoder was given and what it gave, and ours beside it."""

    backbone: Any
    variables: dict
    ids: np.ndarray
    mask: np.ndarray


def golden(chameleon, c, weights, ids, mask):
    like = jax.eval_shape(Decoder(c).init, rngs(), batch(ids[:1, :1], mask[:1, :1]))
    head = {} if c.tied else {"head": {"kernel": jax.ShapeDtypeStruct((c.width, c.vocab), "f4")}}
    params = hf.load(table(c), weights, {"decoder": dict(like["params"]) | head})
    backbone = dataclasses.replace(chameleon.backbone, c=c)
    return Golden(backbone, {"params": params}, ids, mask.astype(bool))


def rngs():
    return {"params": jax.random.key(0), "lora": jax.random.key(0)}


def batch(ids, mask):
    positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)[None]
    whole = Batch(ids, positions.astype(np.int32), mask.astype(bool), np.zeros(ids.shape, bool))
    return jax.tree.map(jnp.asarray, whole)


def logits(g, ids=None, mask=None):
    given = batch(g.ids if ids is None else ids, g.mask if mask is None else mask)

    def run(variables, given):
        hidden, _ = g.backbone(variables, given)
        return g.backbone.unembed(variables, hidden), hidden

    return jax.tree.map(np.asarray, jax.jit(run)(g.variables, given))


def near(ours, theirs, mask):
    scale = np.abs(theirs[mask]).max()
    np.testing.assert_allclose(ours[mask], theirs[mask], atol=1e-4 * scale)


def continues(g, expected, forbidden=()):
    """Greedily, with the cache; then each token anew from a full forward over what it follows."""
    vocab, count = g.backbone.c.vocab, expected.shape[1]
    legal = ~np.isin(np.arange(vocab), list(forbidden))
    grammar = Grammar(jnp.zeros(vocab, bool), jnp.asarray(legal))
    keys = jax.random.split(jax.random.key(0), len(g.ids))
    out = sample_rows(
        g.backbone, g.variables, grammar, batch(g.ids, g.mask), keys,
        SampleStatic(Sampling(greedy=True), count),
    )  # fmt: skip
    np.testing.assert_array_equal(out.tokens, expected)
    ids, mask = np.concatenate([g.ids, expected], 1), np.pad(g.mask, ((0, 0), (0, count)))
    mask[:, -count:] = True
    repeated = logits(g, ids, mask)[0][:, -count - 1 : -1]
    np.testing.assert_array_equal(np.where(legal, repeated, -np.inf).argmax(-1), expected)


CHAMELEONS = {
    "chameleon": DecoderConfig(48, 40, 2, 5, 1, 56, qk_norm=True),
    "chameleon_swin": DecoderConfig(48, 32, 2, 4, 4, 56, qk_norm=True, norm_after=True),
}


@pytest.mark.parametrize("name", CHAMELEONS)
def test_a_chameleon_has_upstreams_logits_and_continuations(chameleon, name):
    z = np.load(GOLDEN / f"{name}.npz")
    weights = {k.removeprefix("weights/"): z[k] for k in z if k.startswith("weights/")}
    g = golden(chameleon, CHAMELEONS[name], weights, z["ids"], z["mask"])
    near(logits(g)[0], z["logits"], g.mask)
    continues(g, z["free"])
    continues(g, z["words"], forbidden=range(4, 16))


@pytest.fixture(scope="module")
def llama(chameleon):
    z = np.load(GOLDEN / "llama.npz")
    weights = {k.removeprefix("weights/"): z[k] for k in z if k.startswith("weights/")}
    c = DecoderConfig(40, 32, 2, 4, 2, 40, eps=1e-6, rope_theta=500.0, tied=True)
    return golden(chameleon, c, weights, z["ids"], z["mask"]), z


def adapted(g, lora, load):
    """The same model with adapters, from `load(table, shapes)`."""
    c = g.backbone.c._replace(lora=lora)
    like = jax.eval_shape(Decoder(c).init, rngs(), batch(g.ids[:1, :1], g.mask[:1, :1]))["lora"]
    variables = g.variables | {"lora": load(table(c), {"decoder": like})}
    return g._replace(backbone=dataclasses.replace(g.backbone, c=c), variables=variables)


def merged(g):
    params = hf.merge(g.variables["params"], g.variables["lora"], g.backbone.c.lora.alpha)
    return g._replace(variables={"params": params})


def test_a_llama_has_upstreams_logits_and_continuations(llama):
    g, z = llama
    near(logits(g)[0], z["off"], g.mask)
    continues(g, z["plain"])


def test_a_llamas_adapter_is_pefts_on_off_and_merged(llama):
    g, z = llama
    given = {k.removeprefix("adapter/"): z[k] for k in z if k.startswith("adapter/")}

    def load(table, like):
        return hf.load(adapter_table(table, tuple(hf.flatten(like))), given, like)

    on = adapted(g, Lora(rank=3, alpha=12.0, targets=("q", "v", "down")), load)
    near(logits(on)[0], z["on"], g.mask)
    near(logits(merged(on))[0], z["on"], g.mask)
    near(logits(on._replace(variables=g.variables))[0], z["off"], g.mask)
    continues(on, z["adapted"])


def released(config, **fields):
    """The decoder of a released golden's config."""
    return DecoderConfig(
        vocab=config["vocab_size"], width=config["hidden_size"],
        layers=config["num_hidden_layers"], heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"], mlp=config["intermediate_size"],
        eps=config["rms_norm_eps"], rope_theta=config["rope_parameters"]["rope_theta"],
        tied=config["tie_word_embeddings"], **fields,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.parametrize("name", ["mha", "gqa", "swin"])
def test_released_chameleon_goldens(chameleon, reference, name):
    folder = reference / "golden" / "chameleon_text" / name
    c, io = json.loads((folder / "config.json").read_text()), np.load(folder / "io.npz")
    config = released(c, qk_norm=True, norm_after=c["swin_norm"])
    weights, first = load_file(folder / "weights.safetensors"), c["first_image_token_id"]
    pictures = range(first, first + c["num_image_tokens"])
    for rows in ("single", "batch"):
        ids, mask = io[f"in_{rows}_input_ids"], io[f"in_{rows}_attention_mask"]
        g = golden(chameleon, config, weights, ids, mask)
        ours, hidden = logits(g)
        near(ours, io[f"out_{rows}_logits_unmasked"], g.mask)
        if rows == "single":
            near(hidden, io[f"out_single_hidden{config.layers}"], g.mask)
        continues(g, io[f"out_{rows}_greedy_unmasked_tokens"])
        continues(g, io[f"out_{rows}_greedy_image_masked_tokens"], forbidden=pictures)


@pytest.mark.slow
@pytest.mark.reference
def test_the_released_llama_golden(chameleon, reference):
    folder = reference / "golden" / "llama"
    config, io = json.loads((folder / "config.json").read_text()), np.load(folder / "io.npz")
    c, peft = released(config["llama"]), config["lora"]
    weights = load_file(folder / "weights.safetensors")
    g = golden(chameleon, c, weights, io["in_input_ids"], io["in_attention_mask"])
    ours, hidden = logits(g)
    near(ours, io["out_logits"], g.mask)
    near(hidden, io[f"out_hidden{c.layers}"], g.mask)
    continues(g, io["out_greedy_tokens"])
    alpha = float(peft["lora_alpha"])
    targets = tuple(name.removesuffix("_proj") for name in peft["target_modules"])

    def load(table, like):
        return hf.load_adapter(table, folder / "adapter", like, alpha=alpha)

    on = adapted(g, Lora(rank=peft["r"], alpha=alpha, targets=targets), load)
    near(logits(on)[0], io["out_adapter_on_logits"], g.mask)
    near(logits(merged(on))[0], io["out_adapter_merged_logits"], g.mask)
    near(logits(on._replace(variables=g.variables))[0], io["out_adapter_off_logits"], g.mask)
    continues(on, io["out_adapter_greedy_tokens"])
    kernels = merged(on).variables["params"]["decoder"]["layers"]
    np.testing.assert_allclose(
        kernels["attention"]["q"]["kernel"][0].T, io["out_merged_q_proj_layer0"], atol=1e-6
    )
    np.testing.assert_allclose(
        kernels["mlp"]["down"]["kernel"][-1].T, io["out_merged_down_proj_last"], atol=1e-6
    )


def test_a_cache_of_bfloat16_is_bfloat16(chameleon):
    cache = chameleon.variant(dtype="bfloat16").init_cache(3, 7)
    assert (cache.k.shape, cache.k.dtype) == ((2, 3, 2, 7, 8), jnp.bfloat16)
    assert cache.v.shape == cache.k.shape
    assert not cache.valid.any()
    assert int(cache.length) == 0


@pytest.mark.parametrize(
    "fields", [{"remat": True}, {"remat": True, "remat_policy": "dots"}, {"unroll": 2}]
)
def test_how_layers_are_run_changes_nothing_nor_their_gradients(chameleon, plainly, fields):
    ours = gradients(chameleon.variant(**fields), chameleon.variables)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)  # noqa: E731
    jax.tree.map(close, ours, plainly)


@pytest.fixture(scope="module")
def plainly(chameleon):
    return gradients(*chameleon)


def gradients(backbone, variables):
    given = batch(np.arange(18, 26).reshape(2, 4), np.ones((2, 4)))
    total = lambda variables: jnp.square(backbone(variables, given)[0]).sum()  # noqa: E731
    return jax.jit(jax.value_and_grad(total))(variables)


def test_a_seed_has_the_weights_that_it_always_had():
    """Presets from scratch and their published numbers are repeated by their seed."""
    c = DecoderConfig(vocab=64, width=32, layers=3, heads=2, kv_heads=2, mlp=64)
    given = batch(np.zeros((1, 1), np.int32), np.ones((1, 1), np.int32))
    params = jax.jit(lambda key: Decoder(c).init(key, given, method="init_all"))(jax.random.key(0))
    layers = params["params"]["layers"]
    kernels = layers["attention"]["k"]["kernel"], layers["mlp"]["up"]["kernel"]
    found = [float(jnp.abs(kernel).sum()) for kernel in kernels]
    assert found == pytest.approx([49.065243, 99.276131], rel=1e-5)


@pytest.mark.parametrize("tied", [False, True])
def test_in_bfloat16_gradients_of_float32_weights_are_sums_in_float32(tied):
    """Of 2,048 equal words; bf16 adds numbers like these to 256 times the first, and no further."""
    fields = {"layers": 1, "heads": 2, "kv_heads": 2, "mlp": 32, "qkv_bias": True, "tied": tied}
    c = DecoderConfig(vocab=8, width=16, **fields)
    words = batch(np.full((1, 2048), 3), np.ones((1, 2048), np.int32))
    variables = Decoder(c).init(jax.random.key(0), words, method="init_all")

    def gradient(dtype):
        decoder = Decoder(c._replace(dtype=dtype))
        value = lambda v: decoder.apply(v, words, method="init_all")[..., 5].sum()  # noqa: E731
        return jax.grad(value)(variables)["params"]

    def near(path, found, expected):
        off = jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected)
        assert found.dtype == jnp.float32 and off < 0.05, (jax.tree_util.keystr(path), off)

    found, expected = gradient("bfloat16"), gradient("float32")
    for tree in (found, expected):  # equal words attend to one another alike, whatever q and k are
        del tree["layers"]["attention"]["q"], tree["layers"]["attention"]["k"]
    jax.tree_util.tree_map_with_path(near, found, expected)
