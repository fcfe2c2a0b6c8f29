"""A config's `model` makes Qwen2.5-VL and reads its weights."""

import jax
import numpy as np
import pytest

from mmcot_jax import mesh as meshes
from mmcot_jax import models
from mmcot_jax.models.qwen25vl import weights
from mmcot_jax.types import Backbone


@pytest.fixture
def config(qwen, tmp_path):
    """What a config's `model` would say of the tiny Qwen2.5-VL."""
    qwen.backbone.renderer.tokenizer.save(str(tmp_path / "tokenizer.json"))
    decoder = qwen.backbone.c._asdict()
    lora = decoder.pop("lora")._asdict()
    decoder.pop("qkv_bias")
    return {
        "decoder": decoder,
        "vision": qwen.backbone.vision._asdict(),
        "lora": lora,
        "tokenizer": str(tmp_path / "tokenizer.json"),
        "weights": "",
        "preprocess": "processor",
        "min_pixels": 3136,
        "max_pixels": 12_845_056,
        "system": "",
        "context": 256,
    }


@pytest.fixture(scope="module")
def mesh():
    return meshes.make(2, 2, 2)


def build(config, **changes):
    return models.get("qwen25vl").build(config | changes)


def test_a_config_makes_the_backbone(qwen, config):
    built = models.get("qwen25vl").build(config, learn="all", eos=False)
    assert isinstance(built, Backbone)
    assert (built.c, built.vision) == (qwen.backbone.c, qwen.backbone.vision)
    assert (built.renderer.learn, built.renderer.eos) == ("all", False)
    assert built.renderer.context == built.context == 256
    assert build(config, lora=config["lora"] | {"rank": 0}).c.lora is None


@pytest.mark.parametrize("size", ["3b", "7b"])
def test_the_released_sizes_are_configs(config, size):
    sizes = models.get("qwen25vl").SIZES[size]
    lora = {"rank": 8, "alpha": 16.0, "dropout": 0.0, "targets": ("q", "v")}
    built = build(config, **sizes, lora=lora)
    assert built.c.channels == 128 and built.c.qkv_bias
    assert built.c.tied == (size == "3b")
    assert built.vision.cells == 4


def test_what_does_not_fit_is_refused(config, tmp_path):
    decoder = config["decoder"]
    with pytest.raises(ValueError, match=r"model.decoder.vocab is 60; the tokenizer has 63 ids"):
        build(config, decoder=decoder | {"vocab": 60})
    with pytest.raises(ValueError, match=r"rope_sections is \(2, 2, 3\); give .* sum is 8, half"):
        build(config, decoder=decoder | {"rope_sections": (2, 2, 3)})
    with pytest.raises(ValueError, match=r"targets has 'head', and this model's head .*leave 'he"):
        build(config, decoder=decoder | {"tied": True})
    with pytest.raises(ValueError, match=r"no tokenizer\.json at .*absent; give the file"):
        build(config, tokenizer=str(tmp_path / "absent"))


@pytest.mark.slow
def test_without_weights_they_are_random_and_on_their_shards(qwen, config, mesh):
    out = models.get("qwen25vl").load(qwen.backbone, config, jax.random.key(0), mesh)
    assert jax.tree.structure(out) == jax.tree.structure(qwen.variables)
    attention = out["params"]["vision"]["layers"]["attention"]
    assert attention["qkv"]["kernel"].sharding.spec == jax.P(None, "fsdp", None)
    assert attention["o"]["kernel"].sharding.spec == jax.P(None, "tensor", "fsdp")
    assert attention["qkv"]["kernel"].any()


def test_weights_come_from_their_folder_and_adapters_are_new(qwen, config, mesh, tmp_path):
    backbone, variables = qwen
    weights.save(backbone, variables["params"], tmp_path / "saved")
    c = config | {"weights": str(tmp_path / "saved")}
    out = models.get("qwen25vl").load(backbone, c, jax.random.key(0), mesh)
    jax.tree.map(np.testing.assert_array_equal, out["params"], variables["params"])
    b = [x for path, x in jax.tree.leaves_with_path(out["lora"]) if path[-1].key == "b"]
    assert b and not any(x.any() for x in b)
