"""A config's `model` makes Qwen2.5-VL and reads its weights."""

import json

import jax
import pytest
from helpers import tiny

from mmcot_jax import mesh as meshes
from mmcot_jax import models
from mmcot_jax.models.qwen25vl.config import SIZES


@pytest.fixture
def config(qwen, tmp_path):
    return tiny.config("qwen25vl", qwen.backbone, tmp_path)


@pytest.fixture(scope="module")
def mesh():
    return meshes.make(2, 2, 2)


def build(config, **changes):
    return models.get("qwen25vl").build(config | changes)


def test_a_config_says_how_rows_are_learned(config):
    built = models.get("qwen25vl").build(config, learn="all", eos=False)
    assert (built.renderer.learn, built.renderer.eos) == ("all", False)
    assert built.renderer.context == built.context == 256


@pytest.mark.parametrize("size", ["3b", "7b"])
def test_the_released_sizes_are_configs(config, size):
    sizes = SIZES[size]
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


def test_a_processor_of_other_patches_or_colours_is_refused(config, tmp_path):
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / "preprocessor_config.json"
    config["weights"] = str(path.parent)
    bounds = {"min_pixels": 1, "max_pixels": 2}  # a run has its own
    path.write_text(json.dumps(bounds | {"patch_size": 14, "merge_size": 2}))
    build(config)
    path.write_text(json.dumps(bounds | {"patch_size": 16}))
    with pytest.raises(ValueError, match=r"patch_size is 16 there, model.vision.patch is 14; set"):
        build(config)
    path.write_text(json.dumps({"image_mean": [0.5, 0.5, 0.5]}))
    with pytest.raises(ValueError, match=r"image_mean is 0.5,0.5,0.5 there, of this backbone is"):
        build(config)
