import json

import jax
import numpy as np
import pytest
from helpers import qwen_golden

from mmcot_jax import hf
from mmcot_jax.keytable import slots
from mmcot_jax.models.qwen25vl import keys
from mmcot_jax.models.qwen25vl.backbone import Qwen25VL
from mmcot_jax.models.qwen25vl.config import SIZES, VisionConfig
from mmcot_jax.nn.decoder import DecoderConfig


def params(size):
    """A released model's parameters, as shapes."""
    renderer = qwen_golden.own().backbone.renderer
    decoder = DecoderConfig(**SIZES[size]["decoder"], qkv_bias=True)
    vision = VisionConfig(**SIZES[size]["vision"])
    backbone = Qwen25VL(decoder, vision, renderer, context=8)
    return jax.eval_shape(backbone.init, jax.random.key(0))["params"]


def upstream(table, params):
    """Upstream name -> shape, of all that the table makes of these parameters."""
    shapes = {path: leaf.shape for path, leaf in hf.flatten(params).items()}
    return {s.name: s.shape for group in slots(table, shapes).values() for s in group}


@pytest.fixture(scope="module", params=["3b", "7b"])
def size(request):
    return request.param


@pytest.fixture(scope="module")
def names(size):
    tied = SIZES[size]["decoder"]["tied"]
    return upstream(keys.hf_table(tied=tied), params(size))


def test_its_names_cover_the_released_model(size, names):
    count, elements = {"3b": (824, 3_754_622_976), "7b": (729, 8_292_166_656)}[size]
    assert len(names) == count
    assert sum(int(np.prod(shape)) for shape in names.values()) == elements
    assert names["visual.patch_embed.proj.weight"] == (1280, 3, 2, 14, 14)
    assert names["visual.blocks.31.attn.qkv.weight"] == (3840, 1280)
    assert names["visual.merger.mlp.2.bias"] == ({"3b": 2048, "7b": 3584}[size],)
    assert names["model.layers.27.self_attn.k_proj.bias"] == ({"3b": 256, "7b": 512}[size],)
    assert ("lm_head.weight" in names) == (size == "7b")


def test_in_memory_the_prefixes_are_longer():
    table = keys.hf_table(tied=False, prefixes=keys.LOADED)
    names = {rule.upstream for rule in table.rules}
    assert "model.language_model.layers.{layer}.mlp.up_proj.weight" in names
    assert "model.visual.merger.ln_q.weight" in names
    assert "lm_head.weight" in names


@pytest.mark.reference
def test_nothing_of_the_released_key_lists_is_left_over(reference, size, names):
    path = reference / "golden" / "keys" / f"qwen25vl_{size}.json"
    listed = json.loads(path.read_text())["keys"]
    assert names == {key: tuple(shape) for key, (shape, _) in listed.items()}
