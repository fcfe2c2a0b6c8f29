import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax import hf, models
from mmcot_jax import mesh as meshes
from mmcot_jax.models.chameleon import keys, weights
from mmcot_jax.types import Backbone


def test_backbones_are_looked_up_by_folder():
    assert "chameleon" in models.names()
    assert models.get("chameleon").__name__ == "mmcot_jax.models.chameleon"


def test_an_unknown_backbone_is_told_which_there_are():
    with pytest.raises(ValueError, match=r"model.backbone is 'chamelion'; there are: .*chameleon"):
        models.get("chamelion")


@pytest.fixture
def config(chameleon, tmp_path):
    """What a config's `model` would say of the tiny Chameleon."""
    chameleon.backbone.renderer.tokenizer.save(str(tmp_path / "tokenizer.json"))
    decoder = chameleon.backbone.c._asdict()
    lora = decoder.pop("lora")._asdict()
    decoder.pop("qk_norm")
    return {
        "decoder": decoder,
        "lora": lora,
        "vqgan": chameleon.backbone.vqgan._asdict(),
        "tokenizer": str(tmp_path / "tokenizer.json"),
        "weights": "",
        "vqgan_weights": "",
        "preprocess": "native",
        "context": 64,
        "draws": True,
    }


@pytest.fixture(scope="module")
def mesh():
    return meshes.make(2, 2, 2)


def test_a_config_makes_the_backbone(chameleon, config):
    built = models.get("chameleon").build(config)
    assert isinstance(built, Backbone)
    assert (built.c, built.vqgan) == (chameleon.backbone.c, chameleon.backbone.vqgan)
    assert built.renderer.tokenizer.get_vocab() == chameleon.backbone.renderer.tokenizer.get_vocab()
    assert not models.get("chameleon").build(config | {"draws": False}).grammar.image_len


def test_rank_0_is_no_adapters(config):
    built = models.get("chameleon").build(config | {"lora": config["lora"] | {"rank": 0}})
    assert built.c.lora is None


def test_a_vocabulary_that_does_not_hold_the_tokenizer_is_refused(config):
    small = config | {"decoder": config["decoder"] | {"vocab": 27}}
    with pytest.raises(ValueError, match=r"vocab is 27; the tokenizer has 28 ids and pictures"):
        models.get("chameleon").build(small)


def test_a_tokenizer_that_is_not_there_is_refused(config, tmp_path):
    with pytest.raises(ValueError, match=r"no tokenizer\.json at"):
        models.get("chameleon").build(config | {"tokenizer": str(tmp_path / "absent")})


def test_without_weights_they_are_random_and_on_their_shards(chameleon, config, mesh, tmp_path):
    table, vqgan = keys.vqgan_table(chameleon.backbone.vqgan), tmp_path / "vqgan.safetensors"
    hf.save_file(table, {"vqgan": chameleon.variables["params"]["vqgan"]}, vqgan)
    c = config | {"vqgan_weights": str(vqgan)}
    out = models.get("chameleon").load(chameleon.backbone, c, jax.random.key(0), mesh)
    assert jax.tree.structure(out) == jax.tree.structure(chameleon.variables)
    jax.tree.map(np.testing.assert_array_equal, out["params"]["vqgan"],
                 chameleon.variables["params"]["vqgan"])  # fmt: skip
    kernel = out["params"]["decoder"]["head"]["kernel"]
    assert kernel.sharding.spec == jax.P("fsdp", "tensor")
    assert float(jnp.abs(kernel).max()) > 0


def test_weights_come_from_their_folder_and_adapters_are_new(chameleon, config, mesh, tmp_path):
    backbone, variables = chameleon
    weights.save(backbone, variables["params"], tmp_path / "saved")
    c = config | {"weights": str(tmp_path / "saved")}
    out = models.get("chameleon").load(backbone, c, jax.random.key(0), mesh)
    jax.tree.map(np.testing.assert_array_equal, out["params"], variables["params"])
    b = [x for path, x in jax.tree.leaves_with_path(out["lora"]) if path[-1].key == "b"]
    assert not any(x.any() for x in b)
    assert out["params"]["decoder"]["head"]["kernel"].sharding.spec == jax.P("fsdp", "tensor")


def test_a_vqgan_of_its_own_may_lie_elsewhere(chameleon, config, mesh, tmp_path):
    backbone, variables = chameleon
    weights.save(backbone, variables["params"], tmp_path / "saved")
    elsewhere = tmp_path / "elsewhere.safetensors"
    (tmp_path / "saved" / "vqgan.safetensors").rename(elsewhere)
    c = config | {"weights": str(tmp_path / "saved")}
    load = models.get("chameleon").load
    base = dataclasses.replace(backbone, c=backbone.c._replace(lora=None))
    with pytest.raises(ValueError, match="has no VQGAN decoder"):
        load(base, c, jax.random.key(0), mesh)
    out = load(base, c | {"vqgan_weights": str(elsewhere)}, jax.random.key(0), mesh)
    jax.tree.map(np.testing.assert_array_equal, out["params"], variables["params"])
