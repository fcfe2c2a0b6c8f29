import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax import hf
from mmcot_jax.keytable import slots
from mmcot_jax.models.chameleon import keys
from mmcot_jax.models.chameleon.config import VQGANConfig
from mmcot_jax.models.chameleon.vqgan import VQGAN
from mmcot_jax.nn.decoder import Decoder, DecoderConfig
from mmcot_jax.types import Batch

SEVEN_B = DecoderConfig(
    vocab=65536, width=4096, layers=32, heads=32, kv_heads=32, mlp=11008, qk_norm=True
)


@pytest.fixture(scope="module")
def params():
    """Chameleon-7B's parameters as shapes, the VQGAN with its decoder."""
    token = Batch(jnp.zeros((1, 1), int), jnp.zeros((1, 1, 1), int), *_flags())
    decoder = jax.eval_shape(
        lambda key: Decoder(SEVEN_B).init(key, token, method="init_all"), jax.random.key(0)
    )
    vqgan = jax.eval_shape(
        lambda key: VQGAN(VQGANConfig()).init(key, jnp.zeros((1, 512, 512, 3))), jax.random.key(0)
    )
    return {"decoder": decoder["params"], "vqgan": vqgan["params"]}


def _flags():
    return jnp.ones((1, 1), bool), jnp.ones((1, 1), bool)


def upstream(table, params):
    """Upstream name -> shape, of all that the table makes of these parameters."""
    shapes = {path: leaf.shape for path, leaf in hf.flatten(params).items()}
    return {s.name: s.shape for group in slots(table, shapes).values() for s in group}


def without_vqgan_decoder(params):
    vqgan = {name: x for name, x in params["vqgan"].items() if name != keys.VQGAN_DECODER}
    return {**params, "vqgan": vqgan}


def elements(shapes):
    return sum(int(np.prod(shape)) for shape in shapes.values())


def test_hugging_faces_names_cover_the_7b(params):
    names = upstream(
        keys.hf_table(VQGANConfig(), vqgan_decoder=False), without_vqgan_decoder(params)
    )
    assert len(names) == 548
    assert elements(names) == 7_043_090_432
    assert names["model.layers.31.mlp.down_proj.weight"] == (4096, 11008)
    assert names["model.layers.0.self_attn.q_norm.bias"] == (32, 128)
    assert names["lm_head.weight"] == (65536, 4096)
    assert names["model.vqmodel.quantize.embedding.weight"] == (8192, 256)
    assert names["model.vqmodel.encoder.conv_in.weight"] == (128, 3, 3, 3)


def test_the_originals_names_cover_the_7b(params):
    names = upstream(keys.original_table(VQGANConfig(), heads=32, kv_heads=32), params)
    decoder = {n: s for n, s in names.items() if not n.startswith(keys.VQGAN_PREFIX)}
    assert len(decoder) == 3 + 32 * 13
    assert elements(decoder) == 7_013_158_912  # a qk-norm is there once, not per head
    assert decoder["layers.31.attention.wq.weight"] == (4096, 4096)
    assert decoder["layers.0.attention.q_normalization.weight"] == (128,)
    assert decoder["layers.0.feed_forward.w2.weight"] == (4096, 11008)
    assert decoder["output.weight"] == (65536, 4096)
    assert len(names) - len(decoder) == 293


def test_the_vqgan_file_holds_the_decoder_too(params):
    names = upstream(keys.vqgan_table(VQGANConfig()), {"vqgan": params["vqgan"]})
    assert len(names) == 293
    assert elements(names) == 68_718_467
    assert names["decoder.up.4.upsample.conv.weight"] == (512, 512, 3, 3)


@pytest.mark.reference
def test_nothing_of_the_released_key_lists_is_left_over(reference, params):
    tables = {
        "chameleon_7b_hf": upstream(
            keys.hf_table(VQGANConfig(), vqgan_decoder=False), without_vqgan_decoder(params)
        ),
        "chameleon_vqgan": upstream(keys.vqgan_table(VQGANConfig()), {"vqgan": params["vqgan"]}),
    }
    for name, ours in tables.items():
        listed = json.loads((reference / "golden" / "keys" / f"{name}.json").read_text())["keys"]
        assert ours == {key: tuple(shape) for key, (shape, _) in listed.items()}


@pytest.mark.reference
@pytest.mark.parametrize("variant", ["mha", "gqa"])
def test_the_golden_decoder_is_read_whole(reference, variant):
    folder = reference / "golden" / "chameleon_text" / variant
    config = json.loads((folder / "config.json").read_text())
    c = DecoderConfig(
        vocab=config["vocab_size"],
        width=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        mlp=config["intermediate_size"],
        eps=config["rms_norm_eps"],
        rope_theta=config["rope_parameters"]["rope_theta"],
        qk_norm=True,
    )
    token = Batch(jnp.zeros((1, 1), int), jnp.zeros((1, 1, 1), int), *_flags())
    like = jax.eval_shape(
        lambda key: Decoder(c).init(key, token, method="init_all"), jax.random.key(0)
    )
    table = keys.hf_table(VQGANConfig(), vqgan_decoder=False)
    decoder = table._replace(rules=tuple(r for r in table.rules if r.path[0] == "decoder"))
    params = hf.load(decoder, folder / "weights.safetensors", {"decoder": like["params"]})
    assert jax.tree.structure(params["decoder"]) == jax.tree.structure(like["params"])
