import jax
import numpy as np
import pytest
from helpers import tiny

from mmcot_jax import hf, models, rules
from mmcot_jax import mesh as meshes
from mmcot_jax.models.chameleon import keys, weights


def test_backbones_are_looked_up_by_folder():
    assert models.names() == ["chameleon", "qwen25vl", "seed_llama"]
    assert models.get("chameleon").__name__ == "mmcot_jax.models.chameleon"


def test_an_unknown_backbone_is_told_which_there_are():
    with pytest.raises(ValueError, match=r"model.backbone is 'chamelion'; there are: .*chameleon"):
        models.get("chamelion")


def test_a_users_backbone_brings_its_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "PARAMS", list(rules.PARAMS))
    with pytest.raises(ValueError, match="how to split the parameter params/mixer/gate"):
        rules.letters("params/mixer/gate", (4, 2))
    (tmp_path / "mine").mkdir()
    text = "PARAMS = [('mixer/gate', 'dh')]\nbuild = load = print\n"
    (tmp_path / "mine" / "__init__.py").write_text(text)
    for _ in range(2):
        models.get(f"{tmp_path}/mine")
    assert rules.letters("params/mixer/gate", (4, 2)) == "dh"
    assert rules.PARAMS.count(("mixer/gate", "dh")) == 1


def test_a_users_backbone_that_lacks_a_function_is_refused_with_its_name(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("build = print\n")
    with pytest.raises(ValueError, match=r"mine.py', which does not define load$"):
        models.get(str(file))
    file = tmp_path / "whole.py"
    file.write_text("build = load = print\nclass weights:\n    table = print\n")
    with pytest.raises(ValueError, match=r"whole.py', which does not define weights.save$"):
        models.get(str(file), "weights.table", "weights.save")


@pytest.fixture
def config(chameleon, tmp_path):
    return tiny.config("chameleon", chameleon.backbone, tmp_path)


@pytest.fixture(scope="module")
def mesh():
    return meshes.make(2, 2, 2)


def test_the_textual_twin_may_not_draw(config):
    assert not models.get("chameleon").build(config | {"draws": False}).grammar.image_len


def test_a_vocabulary_that_does_not_hold_the_tokenizer_is_refused(config):
    small = config | {"decoder": config["decoder"] | {"vocab": 27}}
    with pytest.raises(ValueError, match=r"vocab is 27; the tokenizer has 28 ids and images need"):
        models.get("chameleon").build(small)


def test_a_tokenizer_that_is_not_there_is_refused(config, tmp_path):
    with pytest.raises(ValueError, match=r"no tokenizer\.json at"):
        models.get("chameleon").build(config | {"tokenizer": str(tmp_path / "absent")})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"remat_policy": "all"}, r"remat_policy is 'all'; choose from nothing, dots"),
        ({"heads": 5}, r"model.decoder.heads is 5 and width 32; a head needs an even number"),
        ({"kv_heads": 3}, r"model.decoder.kv_heads is 3 and heads 4; give a divisor of heads"),
        ({"layers": 0}, r"model.decoder.layers is 0; give a whole number of 1 or more"),
        ({"tied": True}, r"targets has 'head', and this model's head .*leave 'head' out"),
    ],
)
def test_a_decoder_that_does_not_fit_is_refused(config, fields, message):
    c = config | {"decoder": config["decoder"] | fields}
    with pytest.raises(ValueError, match=message):
        models.get("chameleon").build(c)


def test_layers_with_adapters_may_have_pefts_names(config):
    def adapted(*targets):
        c = config | {"lora": config["lora"] | {"targets": targets}}
        return models.get("chameleon").build(c).c.lora.targets

    assert adapted("q_proj", "lm_head") == ("q", "head")
    assert adapted("all-linear") == ("q", "k", "v", "o", "gate", "up", "down")
    with pytest.raises(ValueError, match=r"targets has 'c_attn'; there are: q, k, v, o"):
        adapted("q", "c_attn")


def test_chameleon_30bs_norms_are_a_config_key(config):
    c = config | {"decoder": config["decoder"] | {"norm_after": True, "remat_policy": "dots"}}
    built = models.get("chameleon").build(c).c
    assert (built.norm_after, built.remat_policy) == (True, "dots")


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
    assert np.abs(kernel).max() > 0


def test_a_vqgan_of_its_own_may_lie_elsewhere(chameleon, config, mesh, tmp_path):
    backbone, params = chameleon.variant(lora=None), chameleon.variables["params"]
    weights.save(backbone, params, tmp_path / "saved")
    elsewhere = tmp_path / "elsewhere.safetensors"
    (tmp_path / "saved" / "vqgan.safetensors").rename(elsewhere)
    c = config | {"weights": str(tmp_path / "saved")}
    load = models.get("chameleon").load
    with pytest.raises(ValueError, match="has no VQGAN decoder"):
        load(backbone, c, jax.random.key(0), mesh)
    out = load(backbone, c | {"vqgan_weights": str(elsewhere)}, jax.random.key(0), mesh)
    jax.tree.map(np.testing.assert_array_equal, out["params"], params)


def test_packaged_names_a_file_beside_the_backbone():
    assert models.resolve("packaged:a.json", "/x/y/__init__.py").as_posix() == "/x/y/a.json"
    assert models.resolve("runs/packaged:a", "/x/y/__init__.py").as_posix() == "runs/packaged:a"
