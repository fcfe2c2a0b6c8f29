import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax import hf
from mmcot_jax.keytable import slots
from mmcot_jax.models.seed_llama import keys
from mmcot_jax.models.seed_llama.config import SeedConfig
from mmcot_jax.models.seed_llama.tokenizer import SeedTokenizer
from mmcot_jax.nn.decoder import Decoder, DecoderConfig
from mmcot_jax.types import Batch

EIGHT_B = DecoderConfig(40194, 4096, 32, 32, 32, 11008, eps=1e-6)


@pytest.fixture(scope="module")
def decoder():
    return decoder_shapes(EIGHT_B)


@pytest.fixture(scope="module")
def seed():
    """SEED-2's parameters as shapes."""
    pixels = jnp.zeros((1, 224, 224, 3))
    made = jax.eval_shape(SeedTokenizer(SeedConfig()).init, jax.random.key(0), pixels)
    return {"seed": made["params"]}


def decoder_shapes(c):
    flags = jnp.ones((1, 1), bool)
    token = Batch(jnp.zeros((1, 1), int), jnp.zeros((1, 1, 1), int), flags, flags)
    made = jax.eval_shape(
        lambda key: Decoder(c).init(key, token, method="init_all"), jax.random.key(0)
    )
    return {"decoder": made["params"]}


def upstream(table, params):
    """Upstream name -> shape, of all that the table makes of these parameters."""
    shapes = {path: leaf.shape for path, leaf in hf.flatten(params).items()}
    return {s.name: s.shape for group in slots(table, shapes).values() for s in group}


def elements(shapes):
    return sum(int(np.prod(shape)) for shape in shapes.values())


def test_hugging_faces_names_cover_the_8b(decoder):
    names = upstream(keys.llama_table(), decoder)
    assert (len(names), elements(names)) == (291, 6_805_540_864)
    assert names["model.layers.31.mlp.down_proj.weight"] == (4096, 11008)
    assert names["model.embed_tokens.weight"] == names["lm_head.weight"] == (40194, 4096)


def test_seeds_names_cover_the_whole_picture_tokenizer(seed):
    names = upstream(keys.seed_table(SeedConfig()), seed)
    vit = {n: s for n, s in names.items() if n.startswith(keys.VIT_PREFIX)}
    assert len(vit) == 511
    assert vit["visual_encoder.blocks.38.attn.qkv.weight"] == (4224, 1408)
    assert vit["visual_encoder.pos_embed"] == (1, 257, 1408)
    assert names["quantize.embedding.weight"] == (8192, 32)
    assert names["Qformer.bert.encoder.layer.10.crossattention.self.key.weight"] == (768, 1408)
    assert "Qformer.bert.encoder.layer.11.crossattention.self.key.weight" not in names
    assert names["image_down.4.weight"] == (32, 128)
    assert names["distill_image_proj.weight"] == (1024, 1024)


def test_llama_cpps_names_cover_smollm2():
    tied = DecoderConfig(49152, 576, 30, 9, 3, 1536, tied=True)
    names = upstream(keys.gguf_table(9, 3, tied=True), decoder_shapes(tied))
    assert len(names) == 272
    assert names["blk.29.attn_k.weight"] == (192, 576)
    assert "output.weight" not in names


@pytest.mark.reference
def test_nothing_of_the_released_key_lists_is_left_over(reference, decoder, seed):
    def listed(name):
        found = json.loads((reference / "golden" / "keys" / f"{name}.json").read_text())["keys"]
        return {key: tuple(shape) for key, (shape, _) in found.items()}

    assert upstream(keys.llama_table(), decoder) == listed("seed_llama_8b")
    released = listed("seed_tokenizer")
    ours = upstream(keys.seed_table(SeedConfig()), seed)
    assert {n: s for n, s in released.items() if n in ours} == ours
    unused = set(released) - set(ours)
    assert {n.split(".")[0] for n in unused} <= {"blocks", "pos_embed", "Qformer"}
    assert {n for n in unused if n.startswith("Qformer")} <= {
        "Qformer.bert.embeddings.position_ids"
    }


def test_what_the_released_files_hold_beside_the_tokenizer_is_told_apart():
    wanted = [
        "Qformer.bert.encoder.layer.11.attention.output.dense.weight",
        "Qformer.bert.encoder.layer.0.crossattention.output.LayerNorm.bias",
        "Qformer.bert.encoder.layer.0.intermediate_query.dense.bias",
        "Qformer.bert.encoder.layer.0.output_query.LayerNorm.weight",
        "visual_encoder.blocks.0.attn.q_bias",
        "pos_embed_image",
        "blocks_image.3.mlp.fc1.bias",
    ]
    others = [
        "Qformer.bert.encoder.layer.11.intermediate.dense.weight",
        "Qformer.bert.encoder.layer.11.output.dense.weight",
        "Qformer.bert.embeddings.word_embeddings.weight",
        "Qformer.cls.predictions.bias",
        "visual_encoder.norm.weight",
        "pos_embed",
        "blocks.0.mlp.fc1.bias",
        "text_proj.weight",
    ]
    assert keys.used([*wanted, *others]) == set(wanted)
