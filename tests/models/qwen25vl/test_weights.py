import json
import re

import jax
import numpy as np
import pytest
from helpers import qwen_golden, released

from mmcot_jax import hf, safetensors_io
from mmcot_jax.models.qwen25vl import keys, weights


@pytest.fixture(scope="module", params=[False, True])
def golden(request):
    return qwen_golden.own(tied=request.param)


def like(params):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)


def same(loaded, params):
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_what_goes_out_comes_in_and_out_again(tmp_path, golden):
    params = golden.variables["params"]
    files = weights.save(golden.backbone, params, tmp_path)
    assert [f.name for f in files] == ["model.safetensors"]
    written = safetensors_io.read(files[0])
    for name, x in golden.arrays.items():
        own = name.removeprefix("weights/")
        if name.startswith("weights/") and (own in written or not golden.backbone.c.tied):
            np.testing.assert_array_equal(written[own], x.astype(np.float32), err_msg=own)
    assert ("lm_head.weight" in written) != golden.backbone.c.tied
    same(weights.load(golden.backbone, tmp_path, like(params)), params)


def test_shards_are_read_by_their_index(tmp_path, golden):
    params = golden.variables["params"]
    table = keys.hf_table(tied=golden.backbone.c.tied)
    files = hf.save(table, params, tmp_path, max_bytes=60_000)
    assert len(files) > 3
    same(weights.load(golden.backbone, tmp_path, like(params)), params)


def test_the_names_in_memory_are_read_too_and_a_tied_head_may_lie_there(tmp_path, golden):
    params, tied = golden.variables["params"], golden.backbone.c.tied
    hf.save(keys.hf_table(tied=tied, prefixes=keys.LOADED), params, tmp_path)
    tensors = hf.read_folder(tmp_path)
    if tied:
        tensors["lm_head.weight"] = tensors["model.language_model.embed_tokens.weight"]
    entries = [safetensors_io.Entry(n, x.shape, x.dtype) for n, x in tensors.items()]
    (tmp_path / "all").mkdir()
    safetensors_io.write(tmp_path / "all" / "model.safetensors", entries, tensors.values())
    same(weights.load(golden.backbone, tmp_path / "all", like(params)), params)


def test_torchs_shards_are_read_and_each_part_may_have_names_of_another_age(tmp_path, golden):
    params = golden.variables["params"]
    weights.save(golden.backbone, params, tmp_path)
    released.rename(tmp_path, lambda name: name.replace("model.", "model.language_model."))
    same(weights.load(golden.backbone, tmp_path, like(params)), params)
    pytest.importorskip("torch")
    released.as_bin(tmp_path)
    same(weights.load(golden.backbone, tmp_path, like(params)), params)


def test_a_small_models_qk_norm_goes_out_and_comes_in(tmp_path, qwen):
    normed = qwen.variant(qk_norm=True, lora=None)
    shapes = jax.eval_shape(normed.init, jax.random.key(0))["params"]
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda x: random.normal(size=x.shape).astype(x.dtype), shapes)
    weights.save(normed, params, tmp_path)
    written = safetensors_io.read(tmp_path / "model.safetensors")
    assert written["model.layers.1.self_attn.k_norm.bias"].shape == (1, 16)
    same(weights.load(normed, tmp_path, shapes), params)


def test_weights_of_another_size_are_refused_by_name(tmp_path, golden):
    params = golden.variables["params"]
    weights.save(golden.backbone, params, tmp_path)
    other = like(params)
    other["vision"]["norm"]["scale"] = jax.ShapeDtypeStruct((17,), np.float32)
    with pytest.raises(
        ValueError, match=r"1 misshapen \(visual.merger.ln_q.weight is \[16\], fits \[17\]\)"
    ):
        weights.load(golden.backbone, tmp_path, other)


def test_an_adapter_is_named_for_the_model_in_memory_and_leaves_the_tower_alone(tmp_path, qwen):
    lora, table = qwen.variables["lora"], weights.table(qwen.backbone)
    hf.save_adapter(table, lora, tmp_path, alpha=8, dropout=0.0, base="qwen")
    names = set(safetensors_io.read(tmp_path / "adapter_model.safetensors"))
    assert "base_model.model.model.language_model.layers.1.mlp.up_proj.lora_A.weight" in names
    assert "base_model.model.lm_head.lora_B.weight" in names
    assert not any("visual" in name for name in names)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert "up_proj" in config["target_modules"]
    excluded = re.compile(config["exclude_modules"])
    assert excluded.fullmatch("model.visual.blocks.11.mlp.up_proj")
    assert not excluded.fullmatch("model.language_model.layers.1.mlp.up_proj")
    same(hf.load_adapter(table, tmp_path, like(lora), alpha=8), lora)
    # as transformers before 4.52 named the layers
    file = tmp_path / "adapter_model.safetensors"
    file.rename(tmp_path / "model.safetensors")
    released.rename(tmp_path, lambda name: name.replace("model.language_model.", "model."))
    (tmp_path / "model.safetensors").rename(file)
    assert "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight" in safetensors_io.read(file)
    same(hf.load_adapter(table, tmp_path, like(lora), alpha=8), lora)
