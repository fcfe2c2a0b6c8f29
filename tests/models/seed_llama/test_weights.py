import jax
import numpy as np
import pytest
from helpers import released, tiny
from helpers.tiny import SEED

from mmcot_jax import hf, safetensors_io, torch_io
from mmcot_jax import mesh as meshes
from mmcot_jax.keytable import slots
from mmcot_jax.models import seed_llama as module
from mmcot_jax.models.seed_llama import keys, weights


def like(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def equal(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.fixture(scope="module")
def params(seed_llama):
    return seed_llama.variables["params"]


def test_what_is_exported_is_imported_again(seed_llama, params, tmp_path):
    files = weights.save(seed_llama.backbone, params, tmp_path)
    assert [file.name for file in files] == ["model.safetensors", "seed_tokenizer.safetensors"]
    decoder = weights.load_decoder(seed_llama.backbone, str(tmp_path), like(params["decoder"]))
    equal(decoder, params["decoder"])
    equal(weights.load_seed(SEED, tmp_path, like(params["seed"])), params["seed"])
    equal(weights.load_seed(SEED, files[1], like(params["seed"])), params["seed"])


def test_a_small_models_qk_norm_goes_out_and_comes_in(seed_llama, tmp_path):
    normed = seed_llama.variant(qk_norm=True, lora=None)
    shapes = jax.eval_shape(normed.init, jax.random.key(0))["params"]
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda x: random.normal(size=x.shape).astype(x.dtype), shapes)
    weights.save(normed, params, tmp_path)
    written = safetensors_io.read(tmp_path / "model.safetensors")
    scale = params["decoder"]["layers"]["attention"]["k_norm"]["scale"]
    np.testing.assert_array_equal(written["model.layers.1.self_attn.k_norm.weight"], scale[1])
    equal(weights.load_decoder(normed, str(tmp_path), shapes["decoder"]), params["decoder"])


def originals(params):
    """The two files of the releases: the quantiser's and, without its prefix, the ViT's."""
    leaves = {tuple(k.key for k in p): np.asarray(x) for p, x in jax.tree.leaves_with_path(params)}
    groups = slots(keys.seed_table(SEED), {path: x.shape for path, x in leaves.items()})
    tensors = {slot.name: slot.write(leaves[path]) for path, g in groups.items() for slot in g}
    vit = {n: x for n, x in tensors.items() if n.startswith(keys.VIT_PREFIX)}
    one = np.zeros(1, np.float32)
    unused = {"blocks.0.norm1.weight": one, "Qformer.cls.predictions.bias": one, "pos_embed": one}
    return {
        weights.QUANTIZER: {n: x for n, x in tensors.items() if n not in vit} | unused,
        weights.VIT: {n.removeprefix(keys.VIT_PREFIX): x for n, x in vit.items()}
        | {"norm.weight": one, "blocks.2.norm1.weight": one},
    }


def test_the_picture_tokenizer_comes_from_the_two_places_of_its_release(
    params, tmp_path, monkeypatch
):
    files = originals({"seed": params["seed"]})
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setattr(torch_io, "read", lambda path: files[path.name])
    equal(weights.load_seed(SEED, tmp_path, like(params["seed"])), params["seed"])
    del files[weights.VIT]["blocks.1.attn.q_bias"]
    files[weights.QUANTIZER]["image_down.1.weight"] = np.zeros(1)
    with pytest.raises(
        ValueError, match=r"1 missing \(visual_.*blocks.1.attn.q_bias\); 1 unexpected \(image_down"
    ):
        weights.load_seed(SEED, tmp_path, like(params["seed"]))


def test_the_two_pickles_are_read_with_torch(params, tmp_path):
    torch = pytest.importorskip("torch")
    for name, tensors in originals({"seed": params["seed"]}).items():
        torch.save({n: torch.tensor(np.array(x)) for n, x in tensors.items()}, tmp_path / name)
    equal(weights.load_seed(SEED, tmp_path, like(params["seed"])), params["seed"])


def test_the_released_folders_load_as_the_documented_command_names_them(seed_llama, tmp_path):
    """torch's shards and their index; SEED's two pickles in a folder of their own."""
    torch = pytest.importorskip("torch")
    params, llama, seed = seed_llama.variables["params"], tmp_path / "llama", tmp_path / "seed"
    weights.save(seed_llama.backbone, params, llama)
    released.as_bin(llama)
    (llama / weights.SEED_FILE).unlink()
    seed.mkdir()
    for name, tensors in originals({"seed": params["seed"]}).items():
        torch.save({n: torch.tensor(np.array(x)) for n, x in tensors.items()}, seed / name)
    c = tiny.config("seed_llama", seed_llama.backbone, llama)
    c |= {"weights": str(llama), "tokenizer": "", "seed_weights": str(seed), "lora": {"rank": 0}}
    backbone = module.build(c)
    loaded = module.load(backbone, c, jax.random.key(0), meshes.make(data=1, fsdp=-1))
    equal(loaded["params"], params)


def test_the_file_that_is_not_there_is_named(params, tmp_path):
    (tmp_path / weights.QUANTIZER).touch()
    with pytest.raises(ValueError, match=r"no eva_vit_g.pth in .*beside eva_vit_g.pth of LAVIS"):
        weights.load_seed(SEED, tmp_path, like(params["seed"]))
    with pytest.raises(ValueError, match=r"no seed_quantizer.pt and no eva_vit_g.pth in .*nowhere"):
        weights.load_seed(SEED, tmp_path / "nowhere", like(params["seed"]))


def test_an_adapter_goes_out_and_in_under_llamas_names(seed_llama, tmp_path):
    backbone, variables = seed_llama
    table, lora = weights.table(backbone), variables["lora"]
    hf.save_adapter(table, lora, tmp_path, alpha=8.0, dropout=0.0, base="seed-llama-8b")
    names = safetensors_io.read(tmp_path / "adapter_model.safetensors")
    assert "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight" in names
    equal(hf.load_adapter(table, tmp_path, like(lora), alpha=8.0), lora)


def test_a_tied_model_has_no_head_of_its_own():
    names = [rule.upstream for rule in keys.llama_table(tied=True).rules]
    assert "lm_head.weight" not in names
    assert "lm_head.weight" in keys.llama_table(tied=True).ignorable
