import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel

from mmcot_jax import hf, safetensors_io
from mmcot_jax.keytable import TRANSFORMS, Rule, Table
from mmcot_jax.nn.decoder_keys import LINEAR

TABLE = Table(
    (
        Rule("emb.weight", ("embed", "embedding")),
        Rule("h.{layer}.q_proj.weight", ("layers", "q", "kernel"), "linear"),
        Rule("h.{layer}.norm.bias", ("layers", "norm", "bias")),
    )
)


def tree(dtype=jnp.float32):
    return {
        "embed": {"embedding": jnp.arange(32, dtype=dtype).reshape(8, 4)},
        "layers": {
            "q": {"kernel": jnp.arange(2 * 4 * 8, dtype=dtype).reshape(2, 4, 8)},
            "norm": {"bias": jnp.array([[1, 2], [3, 4]], dtype)},
        },
    }


def shapes(t):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), t)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert jax.tree.map(lambda x: x.dtype, a) == jax.tree.map(lambda x: x.dtype, b)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("max_bytes", [5_000_000_000, 64])
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path, dtype, max_bytes):
    files = hf.save(TABLE, tree(dtype), tmp_path, max_bytes=max_bytes)
    assert (len(files) > 1) == (max_bytes == 64)
    assert_same(hf.load(TABLE, tmp_path, shapes(tree(dtype))), tree(dtype))


def test_loading_and_saving_again_writes_the_same_bytes(tmp_path):
    (first,) = hf.save(TABLE, tree(jnp.bfloat16), tmp_path / "a")
    loaded = hf.load(TABLE, tmp_path / "a", shapes(tree(jnp.bfloat16)))
    (second,) = hf.save(TABLE, loaded, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()


def test_files_hold_upstream_names_and_layouts(tmp_path):
    hf.save(TABLE, tree(), tmp_path)
    tensors = hf.read_folder(tmp_path)
    assert list(tensors) == [
        "emb.weight",
        "h.0.q_proj.weight",
        "h.1.q_proj.weight",
        "h.0.norm.bias",
        "h.1.norm.bias",
    ]
    assert tensors["h.1.q_proj.weight"].shape == (8, 4)
    assert tensors["h.1.q_proj.weight"][0].tolist() == [32.0, 40.0, 48.0, 56.0]
    assert tensors["h.1.norm.bias"].tolist() == [3.0, 4.0]


def test_dtypes_are_those_asked_for(tmp_path):
    hf.save(TABLE, tree(), tmp_path, dtype=jnp.bfloat16)
    assert hf.read_folder(tmp_path)["emb.weight"].dtype == jnp.bfloat16
    loaded = hf.load(TABLE, tmp_path, shapes(tree(jnp.float32)))
    assert_same(loaded, tree(jnp.float32))  # whole numbers below 256 are exact in bfloat16


@pytest.mark.parametrize(
    "spec", [(None, "fsdp", "tensor"), ("fsdp", None, None), (None, None, None), (None, "tensor")]
)
def test_every_device_gets_its_own_piece(tmp_path, spec):
    mesh = jax.make_mesh((2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)
    sharding = NamedSharding(mesh, PartitionSpec(*spec))
    like = shapes(tree())
    like["layers"]["q"]["kernel"] = jax.ShapeDtypeStruct((2, 4, 8), jnp.float32, sharding=sharding)
    hf.save(TABLE, tree(), tmp_path)
    kernel = hf.load(TABLE, tmp_path, like)["layers"]["q"]["kernel"]
    assert kernel.sharding == sharding
    whole = np.arange(64.0).reshape(2, 4, 8)
    assert len(kernel.addressable_shards) == 8
    for shard in kernel.addressable_shards:
        np.testing.assert_array_equal(np.asarray(shard.data), whole[shard.index])


@pytest.fixture
def reads(monkeypatch):
    """The first element of every tensor read."""
    seen = []

    def read(tensor, heads):
        seen.append(tensor[0])
        return tensor

    monkeypatch.setitem(TRANSFORMS, "same", TRANSFORMS["same"]._replace(read=read))
    return seen


def test_replicas_are_read_once(reads):
    mesh = jax.make_mesh((2, 4), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    sharding = NamedSharding(mesh, PartitionSpec("fsdp"))
    like = {"w": jax.ShapeDtypeStruct((4, 3), jnp.float32, sharding=sharding)}
    tensors = {f"w.{i}": np.full(3, i, np.float32) for i in range(4)}
    loaded = hf.load(Table((Rule("w.{layer}", ("w",)),)), tensors, like)["w"]
    assert sorted(reads) == [0.0, 1.0, 2.0, 3.0]
    assert len(loaded.addressable_shards) == 8
    np.testing.assert_array_equal(loaded[:, 0], [0.0, 1.0, 2.0, 3.0])


def test_a_checkpoint_of_another_model_lists_every_fault(tmp_path):
    hf.save(TABLE, tree(), tmp_path)
    like = shapes(tree())
    like["layers"]["q"]["kernel"] = jax.ShapeDtypeStruct((3, 4, 8), jnp.float32)
    like["layers"]["norm"]["bias"] = jax.ShapeDtypeStruct((1, 5), jnp.float32)
    with pytest.raises(ValueError) as error:
        hf.load(TABLE, tmp_path, like)
    assert str(error.value) == (
        f"weights {tmp_path} do not fit this model: 1 missing (h.2.q_proj.weight); "
        "1 unexpected (h.1.norm.bias); 1 misshapen (h.0.norm.bias is [2], fits [5]); "
        "give the weights of this model, or the config of those weights"
    )


def test_quantised_weights_are_refused(tmp_path):
    tensors = {
        "emb.weight": np.zeros((8, 4), np.int8),
        **{f"h.{i}.q_proj.weight": np.zeros((8, 4), np.float16) for i in range(2)},
        **{f"h.{i}.norm.bias": np.zeros(2, np.float16) for i in range(2)},
    }
    with pytest.raises(ValueError, match=r"weights x: emb.weight is int8; give weights in float32"):
        hf.load(TABLE, tensors, shapes(tree()), "x")


# --- where weights are ------------------------------------------------------------------------


def test_a_missing_folder_says_what_is_there_instead(tmp_path):
    (tmp_path / "anole").mkdir()
    with pytest.raises(ValueError, match=r"no weights at .*7b: .* holds anole; download"):
        hf.read_folder(tmp_path / "anoll" / "7b")


def test_a_folder_without_weights_says_what_it_holds(tmp_path):
    (tmp_path / "weights.bin").touch()
    with pytest.raises(
        ValueError, match=r"no model\.safetensors or pytorch_model\.bin.* holds weights\.bin; down"
    ):
        hf.read_folder(tmp_path)
    with pytest.raises(ValueError, match=r"no model.*and 2 more"):
        for i in range(11):
            (tmp_path / f"{i}.json").touch()
        hf.read_folder(tmp_path)


def test_an_index_whose_shards_are_not_there_names_them(tmp_path):
    index = {"weight_map": {"a": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"names model-00002-of-00002\.safetensors, not in"):
        hf.read_folder(tmp_path)


def index(folder, weight_map, name="model.safetensors"):
    (folder / f"{name}.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_an_index_that_disagrees_with_its_shards_is_refused(tmp_path):
    entry = safetensors_io.Entry("a", (1,), np.dtype(np.float32))
    safetensors_io.write(tmp_path / "s1.safetensors", [entry], [np.ones(1, np.float32)])
    index(tmp_path, {"a": "s1.safetensors"})
    assert hf.read_folder(tmp_path)["a"].tolist() == [1.0]
    index(tmp_path, {"a": "s1.safetensors", "b": "s1.safetensors"})
    with pytest.raises(ValueError, match=r"index.json says that b is in s1.safetensors, which la"):
        hf.read_folder(tmp_path)
    for broken in ([], "a", {"a": 3}):
        index(tmp_path, broken)
        with pytest.raises(ValueError, match=r"index.json has no weight_map of names to files"):
            hf.read_folder(tmp_path)
    for text, kind in (("[]", "holds no JSON object"), ("{", "is damaged"), ("", "is an empty fi")):
        (tmp_path / "model.safetensors.index.json").write_text(text)
        with pytest.raises(ValueError, match=f"index.json {kind}.*; fetch it again"):
            hf.read_folder(tmp_path)


def test_torchs_shards_are_read_by_their_index(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": torch.zeros(1)}, tmp_path / "pytorch_model-00002-of-00002.bin")
    places = {name: f"pytorch_model-0000{i}-of-00002.bin" for name, i in (("a", 1), ("b", 2))}
    index(tmp_path, places, "pytorch_model.bin")
    read = hf.read_folder(tmp_path)
    assert {name: x.tolist() for name, x in read.items()} == {"a": [1.0, 1.0], "b": [0.0]}
    torch.save({"c": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert hf.read_folder(tmp_path).keys() == {"c"}  # one file goes before shards


# --- adapters ---------------------------------------------------------------------------------


def lora():
    return {
        "layers": {
            "q": {
                "a": jnp.arange(2 * 4 * 2, dtype=jnp.float32).reshape(2, 4, 2),
                "b": jnp.ones((2, 2, 8), jnp.float32),
            }
        }
    }


def test_an_adapter_goes_out_and_in(tmp_path):
    hf.save_adapter(TABLE, lora(), tmp_path, alpha=4, dropout=0.1, base="anole")
    tensors = safetensors_io.read(tmp_path / "adapter_model.safetensors")
    assert {name: x.shape for name, x in tensors.items()} == {
        "base_model.model.h.0.q_proj.lora_A.weight": (2, 4),
        "base_model.model.h.1.q_proj.lora_A.weight": (2, 4),
        "base_model.model.h.0.q_proj.lora_B.weight": (8, 2),
        "base_model.model.h.1.q_proj.lora_B.weight": (8, 2),
    }
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (2, 4, 0.1)
    assert config["target_modules"] == ["q_proj"]
    assert config["base_model_name_or_path"] == "anole"
    assert_same(hf.load_adapter(TABLE, tmp_path, shapes(lora()), alpha=4), lora())


def test_merging_adds_the_scaled_product_to_the_layers_it_adapts():
    params = tree()
    merged = hf.merge(params, lora(), alpha=4)
    # alpha / rank = 2; rows of a are [0 1], [2 3], ...; b is ones: each row adds 2 * its sum
    added = merged["layers"]["q"]["kernel"] - params["layers"]["q"]["kernel"]
    assert added[:, :, 0].tolist() == [[2.0, 10.0, 18.0, 26.0], [34.0, 42.0, 50.0, 58.0]]
    assert_same(merged["embed"], params["embed"])
    assert hf.merge(tree(jnp.bfloat16), lora(), alpha=4)["layers"]["q"]["kernel"].dtype == (
        jnp.bfloat16
    )


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no adapter in .*give a folder with adapter_config.json"):
        hf.load_adapter(TABLE, tmp_path, shapes(lora()), alpha=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True, "bias": "all"}, "uses use_dora, bias; only plain LoRA fits"),
        (
            {"r": 4},
            r"has rank 4 and alpha 4, model.lora has rank 2 and alpha 4; set model.lora.",
        ),
        ({"lora_alpha": 8}, r"has rank 2 and alpha 8, .*; set .* and model.lora.alpha=8, or give"),
        ({"peft_type": "IA3"}, r"uses peft_type IA3; only plain LoRA fits"),
        ({"modules_to_save": ["lm_head"]}, "uses modules_to_save; only plain"),
        ({"rank_pattern": {"q": 4}, "alpha_pattern": {"q": 2}}, "uses rank_pattern, alpha_pattern"),
        ({"fan_in_fan_out": True}, "uses fan_in_fan_out; only plain"),
        ({"layers_to_transform": [0]}, "uses layers_to_transform; only plain"),
        ({"an_option_of_tomorrow": 1}, "uses an_option_of_tomorrow; only plain"),
        ({"init_lora_weights": "pissa_niter_4"}, "has init_lora_weights 'pissa_niter_4', which ch"),
        ({"init_lora_weights": "olora"}, "has init_lora_weights 'olora', which changed the base"),
        (
            {"use_rslora": True},
            r"has rank 2 and alpha 5.65685425 \(use_rslora.*set .*lora.alpha=5.65685425, or",
        ),
    ],
)
def test_an_adapter_of_another_kind_is_refused(tmp_path, change, message):
    hf.save_adapter(TABLE, lora(), tmp_path, alpha=4, dropout=0.0, base="anole")
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        hf.load_adapter(TABLE, tmp_path, shapes(lora()), alpha=4)


def test_an_adapter_scaled_by_the_root_of_its_rank_is_read_with_the_alpha_that_equals_it(tmp_path):
    hf.save_adapter(TABLE, lora(), tmp_path, alpha=4, dropout=0.0, base="anole")
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_rslora": True}))
    assert_same(hf.load_adapter(TABLE, tmp_path, shapes(lora()), alpha=5.65685425), lora())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "is no PEFT config of a LoRA"),
        ('{"peft_type": "LORA", "r": "8", "lora_alpha": 8}', "is no PEFT config of a LoRA"),
        ('{"peft_type": "LORA", "r": 0, "lora_alpha": 8}', "is no PEFT config of a LoRA"),
        ("[]", "holds no JSON object"),
        ("not json", "is a text file that begins 'not json'"),
    ],
)
def test_a_config_that_is_not_pefts_is_refused(tmp_path, text, message):
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(ValueError, match=f"adapter_config.json {message}"):
        hf.load_adapter(TABLE, tmp_path, shapes(lora()), alpha=4)


def test_an_adapter_of_other_layers_is_refused(tmp_path):
    hf.save_adapter(TABLE, lora(), tmp_path, alpha=4, dropout=0.0, base="anole")
    file = tmp_path / "adapter_model.safetensors"
    tensors = {n.replace("q_proj", "v_proj"): x for n, x in safetensors_io.read(file).items()}
    entries = [safetensors_io.Entry(n, x.shape, x.dtype) for n, x in tensors.items()]
    safetensors_io.write(file, entries, [np.array(x) for x in tensors.values()])
    with pytest.raises(ValueError, match=r"adapts v_proj; model.lora.targets adapts q_proj; set"):
        hf.load_adapter(TABLE, tmp_path, shapes(lora()), alpha=4)


def test_an_adapter_of_other_sizes_lists_every_fault(tmp_path):
    hf.save_adapter(TABLE, lora(), tmp_path, alpha=4, dropout=0.0, base="anole")
    like = shapes(lora())
    like["layers"]["q"]["b"] = jax.ShapeDtypeStruct((2, 2, 9), jnp.float32)
    with pytest.raises(ValueError, match=r"2 misshapen \(.*lora_B.weight is \[8 2\], fits \[9 2\]"):
        hf.load_adapter(TABLE, tmp_path, like, alpha=4)


# --- tokenizers ------------------------------------------------------------------------------


def test_a_tokenizer_is_a_file_or_the_first_of_some_names_in_a_folder(tmp_path):
    tokenizer = Tokenizer(WordLevel({"a": 0}, "a"))
    names = ("tokenizer.json", "text/tokenizer.json")
    with pytest.raises(ValueError, match=r"model.tokenizer: no tokenizer\.json at .*; give one"):
        hf.read_tokenizer(tmp_path, "give one", names)
    (tmp_path / "text").mkdir()
    tokenizer.save(str(tmp_path / "text" / "tokenizer.json"))
    for path in (tmp_path, tmp_path / "text", tmp_path / "text" / "tokenizer.json"):
        assert hf.read_tokenizer(path, "give one", names).get_vocab() == {"a": 0}
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokenizer\.json \("):
        hf.read_tokenizer(tmp_path, "give one", names)


@pytest.mark.reference
def test_an_adapter_saved_by_peft_is_read_merged_and_saved_as_peft_does(reference, tmp_path):
    llama = reference / "golden" / "llama"
    c = json.loads((llama / "config.json").read_text())
    layers, rank, alpha = c["llama"]["num_hidden_layers"], c["lora"]["r"], c["lora"]["lora_alpha"]
    rules = tuple(
        Rule(f"model.layers.{{layer}}.{name}.weight", (*path.split("/"), "kernel"), "linear")
        for path, name in LINEAR.items()
    )
    tensors = safetensors_io.read(llama / "weights.safetensors")
    tensors = {name: x for name, x in tensors.items() if "_proj" in name}
    like, adapters = {"attention": {}, "mlp": {}}, {"attention": {}, "mlp": {}}
    for path, name in LINEAR.items():
        part, layer = path.split("/")
        o, i = tensors[f"model.layers.0.{name}.weight"].shape
        like[part][layer] = {"kernel": jax.ShapeDtypeStruct((layers, i, o), jnp.float32)}
        if name.split(".")[-1] in c["lora"]["target_modules"]:
            adapters[part][layer] = {
                "a": jax.ShapeDtypeStruct((layers, i, rank), jnp.float32),
                "b": jax.ShapeDtypeStruct((layers, rank, o), jnp.float32),
            }
    params = hf.load(Table(rules), tensors, like)
    lora = hf.load_adapter(Table(rules), llama / "adapter", adapters, alpha=alpha)
    merged = hf.merge(params, lora, alpha=alpha)
    golden = np.load(llama / "io.npz")
    np.testing.assert_allclose(
        merged["attention"]["q"]["kernel"][0].T, golden["out_merged_q_proj_layer0"], atol=1e-6
    )
    np.testing.assert_allclose(
        merged["mlp"]["down"]["kernel"][-1].T, golden["out_merged_down_proj_last"], atol=1e-6
    )
    hf.save_adapter(Table(rules), lora, tmp_path, alpha=alpha, dropout=0.05, base="llama")
    ours = safetensors_io.read(tmp_path / "adapter_model.safetensors")
    theirs = safetensors_io.read(llama / "adapter" / "adapter_model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, x in theirs.items():
        np.testing.assert_array_equal(ours[name], x)


def test_a_tokenizer_neither_truncates_nor_pads_whatever_its_file_says(tmp_path):
    vocab = {"a": 0, "b": 1, "ab": 2}
    tokenizer = Tokenizer(BPE(vocab, [("a", "b")], dropout=1.0))
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    read = hf.read_tokenizer(tmp_path, "give one")
    assert read.encode("ababab").ids == [2, 2, 2]
