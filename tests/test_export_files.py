"""The files of an export, and exports from each kind of base, read by transformers and peft."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import released, tiny
from helpers.released import one_norm_for_all_heads, original, their_logits, theirs
from PIL import Image

from mmcot_jax import export, export_files, hf, models, safetensors_io
from mmcot_jax import mesh as meshes
from mmcot_jax.ckpt import Checkpoints
from mmcot_jax.example import Example
from mmcot_jax.keytable import slots
from mmcot_jax.models.chameleon.backbone import Chameleon
from mmcot_jax.models.chameleon.config import VQGANConfig
from mmcot_jax.models.chameleon.export import with_placeholder
from mmcot_jax.models.chameleon.render import ChameleonRenderer
from mmcot_jax.nn.linear import Lora
from mmcot_jax.types import Batch, TrainState

NAMES = ("chameleon", "seed_llama", "qwen25vl")
# transformers' VQGAN has norms of 32 groups
VQGAN = VQGANConfig(
    ch=32, ch_mult=(1, 1), num_res_blocks=1, z_channels=4, embed_dim=4, codes=12, resolution=4
)


def small(name, request):
    """A small model that transformers has a class for."""
    if name != "chameleon":
        return request.getfixturevalue({"qwen25vl": "qwen"}.get(name, name))
    return small_chameleon()


@functools.cache
def small_chameleon():
    r = tiny.chameleon_renderer()
    renderer = ChameleonRenderer(r.tokenizer, VQGAN.codes, VQGAN.image_len, VQGAN.resolution)
    c = tiny.DECODER._replace(qk_norm=True)
    return tiny.random(Chameleon(c, VQGAN, renderer, context=64))


def config(name, backbone, folder, **changes):
    """A config's `model`, its tokenizer in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    c = tiny.config(name, backbone, folder)
    return c | ({"draws": True} if "draws" in c else {}) | changes


def run(folder, c, trained, **more):
    """A run's folder with a checkpoint of what it trained."""
    folder.mkdir()
    whole = {"seed": 0, "stages": ["sft"], "model": c, "data": {"task": "shapes", "train": {}}}
    (folder / "config.json").write_text(json.dumps(whole | more))
    with Checkpoints(folder / "checkpoints" / "sft") as checkpoints:
        state = TrainState(jnp.asarray(3), trained, optax.sgd(1e-3).init(trained))
        checkpoints.save(3, state, {})
    return folder


def read(path):
    return json.loads(path.read_text())


# --- the files, without transformers -----------------------------------------------------------


@pytest.fixture
def write(request, tmp_path):
    """Writes the files of a small model beside no weights; returns their folder."""

    def write(name, base=None, **changes):
        c = config(name, small(name, request).backbone, tmp_path / "tokenizer", **changes)
        module = models.get(name)
        files = module.describe(module.build(c), c)
        export_files.write_beside(files, tmp_path / "out", "float32", base, base)
        return tmp_path / "out"

    return write


@pytest.mark.parametrize("name", NAMES)
def test_a_model_without_a_base_gets_all_its_files(write, name, request):
    out = write(name)
    assert {path.name for path in out.iterdir()} == {
        *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
        *{
            "chameleon": ("preprocessor_config.json", "processor_config.json"),
            "seed_llama": (),
            "qwen25vl": ("preprocessor_config.json", "chat_template.jinja"),
        }[name],
    }
    made = read(out / "config.json")
    assert made["torch_dtype"] == "float32"
    assert made["eos_token_id"] == {"chameleon": 2, "seed_llama": [2], "qwen25vl": 60}[name]
    # its own loader compares it, and agrees
    again = config(name, small(name, request).backbone, out, weights=str(out), tokenizer="")
    models.get(name).build(again)
    decoder = again["decoder"] | {"eps": 0.5}
    with pytest.raises(ValueError, match=r"rms_norm_eps is .* model.decoder.eps is 0.5; set"):
        models.get(name).build(again | {"decoder": decoder})


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("qwen25vl", {"qk_norm": True}, "mmcot_qwen2_5_vl"),
        ("seed_llama", {"qk_norm": True}, "mmcot_llama"),
        ("seed_llama", {}, "llama"),
        ("qwen25vl", {}, "qwen2_5_vl"),
        ("chameleon", {}, "chameleon"),
    ],
)
def test_layers_that_transformers_lacks_are_in_the_model_type(
    write, request, tmp_path, name, changes, expected
):
    c = config(name, small(name, request).backbone, tmp_path / "tokenizer")
    out = write(name, decoder=c["decoder"] | changes)
    assert read(out / "config.json")["model_type"] == expected


def test_the_runs_values_replace_the_bases(write, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    bounds = {"min_pixels": 1, "max_pixels": 2, "size": {"shortest_edge": 1, "longest_edge": 2}}
    given = {
        "preprocessor_config.json": bounds | {"image_mean": [0.5]},
        "processor_config.json": {"image_processor": bounds, "processor_class": "P"},
        "config.json": {"model_type": "qwen2_5_vl", "dtype": "float16", "of_the_base": 1,
                        "text_config": {"dtype": "float16"}},
        "tokenizer_config.json": {"chat_template": "the base's"},
        "generation_config.json": {"repetition_penalty": 1.05},
        "trainer_state.json": {},
        "model.safetensors.index.json": {},
    }  # fmt: skip
    for name, value in given.items():
        (base / name).write_text(json.dumps(value))
    out = write("qwen25vl", base, min_pixels=784, max_pixels=12544)
    ours = {"shortest_edge": 784, "longest_edge": 12544}
    made = {path.name: read(path) for path in out.iterdir() if path.name != "tokenizer.json"}
    assert made.keys() == given.keys() - {"trainer_state.json", "model.safetensors.index.json"}
    for found in (
        made["preprocessor_config.json"],
        made["processor_config.json"]["image_processor"],
    ):
        assert (found["min_pixels"], found["max_pixels"], found["size"]) == (784, 12544, ours)
    assert made["preprocessor_config.json"]["image_mean"] == [0.5]
    assert made["config.json"]["dtype"] == made["config.json"]["text_config"]["dtype"] == "float32"
    assert made["config.json"]["of_the_base"] == 1 and "torch_dtype" not in made["config.json"]
    assert made["generation_config.json"] == {"repetition_penalty": 1.05}


def test_seed_llamas_wrong_ids_of_marks_are_corrected(write, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    wrong = {"model_type": "llama", "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1}
    (base / "config.json").write_text(json.dumps(wrong))
    out = write("seed_llama", base)
    right = {"bos_token_id": 1, "eos_token_id": [2], "pad_token_id": 0}
    for name in ("config.json", "generation_config.json"):
        assert right.items() <= read(out / name).items()
    assert read(out / "tokenizer_config.json")["eos_token"] == "</s>"
    vocab = read(out / "tokenizer.json")
    assert "<img_00011>" in {token["content"] for token in vocab["added_tokens"]}


@pytest.mark.parametrize("name", ["", "chat_template.jinja", "tokenizer_config.json"])
def test_the_system_message_of_the_run_is_in_its_chat_template(write, tmp_path, name):
    base = tmp_path / "base"
    base.mkdir()
    given = "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>' }}"
    if name:
        text = given if name.endswith("jinja") else json.dumps({"chat_template": given})
        (base / name).write_text(text)
    out = write("qwen25vl", base, system='Think "in boxes".')
    holds = (out / (name or "chat_template.jinja")).read_text()
    made = json.loads(holds)["chat_template"] if name == "tokenizer_config.json" else holds
    assert 'Think "in boxes".<|im_end|>' in made and "helpful" not in made
    assert (out / "chat_template.jinja").exists() == (name != "tokenizer_config.json")


def test_the_original_releases_placeholder_gets_transformers_name():
    text = json.dumps(
        {
            "model": {"type": "WordLevel", "vocab": {"<reserved08707>": 0, "a": 1}},
            "added_tokens": [{"id": 0, "content": "<reserved08707>"}],
        }
    )
    made = json.loads(with_placeholder(text))
    assert made["model"]["vocab"] == {"a": 1, "<image>": 0}
    assert made["added_tokens"][0]["content"] == "<image>"
    assert with_placeholder(json.dumps(made)) == json.dumps(made)


# --- the model card ----------------------------------------------------------------------------


def card(tmp_path, to="merged", base=None, **model):
    folder, out = tmp_path / "run", tmp_path / "my-model"
    for path in (folder, out):
        path.mkdir(exist_ok=True)
    scores = {"shapes": {"strict": {"accuracy": 41.5}}, "eval": {"n": 12}}
    (folder / "results.json").write_text(json.dumps(scores))
    c = {
        "stages": ["sft", "grpo", "eval"],
        "model": {"backbone": "qwen25vl", "weights": "Qwen/Qwen2.5-VL-3B-Instruct", **model},
        "data": {"task": "aokvqa", "train": {}, "grpo": {"task": "viscot"}},
        "eval": {"sets": {"a": {"task": "/home/me/my_task.py"}}},
        "command": "python -m mmcot_jax.main --config configs/m2t.py:3b",
    }
    named = {"stage": "grpo", "step": 4, "checkpoint": "best"}
    export_files.write_card(
        folder, c, to, out, ("transformers", "Some program reads it."), base, checkpoint=named
    )
    assert read(out / "training_config.json") == c
    return (out / "README.md").read_text()


def test_a_card_says_base_data_stages_metrics_command_and_licence(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Qwen\n")
    text = card(tmp_path, base=base, adapter="first-adapter")
    front, body = text.split("---\n")[1:]
    assert front == (
        'base_model: "Qwen/Qwen2.5-VL-3B-Instruct"\nlibrary_name: "transformers"\n'
        'license: "apache-2.0"\npipeline_tag: "image-text-to-text"\n'
        'tags: ["mmcot_jax", "qwen25vl", "sft", "grpo", "eval"]\n'
    )
    for part in (
        "# my-model\n",
        "The merged model of a run of mmcot_jax, grpo step 4 (best). Some program",
        "- base: Qwen/Qwen2.5-VL-3B-Instruct, with the adapter first-adapter\n",
        "- data: aokvqa, viscot, my_task\n",
        "- trained by: `python -m mmcot_jax.main --config configs/m2t.py:3b`\n",
        f"- written by: `python -m mmcot_jax.export {tmp_path}/run --to merged {tmp_path}/my-model",
        "- licence: apache-2.0\n",
        "| shapes strict accuracy | 41.5 |\n| eval n | 12 |\n",
    ):
        assert part in body


def test_a_card_of_a_folder_or_of_random_weights_names_no_repository(tmp_path):
    text = card(tmp_path, to="peft", weights=str(tmp_path))
    assert "base_model" not in text and 'license: "other"' in text
    assert "A LoRA adapter of a run" in text
    assert "- base: none, the weights were random at first\n" in card(tmp_path, weights="")


# --- read by transformers and peft -------------------------------------------------------------


def logits(backbone, params, lora=None):
    """Our logits of the ids 5 to 14."""
    ids = jnp.arange(5, 15, dtype=jnp.int32)[None]
    ones = jnp.ones(ids.shape, bool)
    positions = jnp.broadcast_to(jnp.arange(10), (backbone.position_axes, 1, 10))
    variables = {"params": params} | ({"lora": lora} if lora else {})
    run = jax.jit(lambda v, batch: backbone.unembed(v, backbone(v, batch)[0]))
    return np.asarray(run(variables, Batch(ids, positions, ones, ones)))


def equal(theirs, ours, codes=VQGAN.codes):
    drawn = theirs < -1e38  # transformers' Chameleon never writes an image
    assert not drawn.any() or drawn.mean() == pytest.approx(codes / ours.shape[-1])
    np.testing.assert_allclose(theirs[~drawn], ours[~drawn], atol=2e-4 * np.abs(ours).max())


def gguf_file(backbone, params, path):
    """Writes a LLaMA as llama.cpp holds it, in float32."""
    library = pytest.importorskip("gguf")
    from mmcot_jax.models.seed_llama import keys

    c, leaves = backbone.c, hf.flatten({"decoder": params["decoder"]})
    groups = slots(
        keys.gguf_table(c.heads, c.kv_heads, c.tied), {p: x.shape for p, x in leaves.items()}
    )
    writer = library.GGUFWriter(path, "llama")
    writer.add_rope_freq_base(c.rope_theta)
    writer.add_layer_norm_rms_eps(c.eps)
    for leaf, group in groups.items():
        for slot in group:
            writer.add_tensor(slot.name, np.ascontiguousarray(slot.write(np.asarray(leaves[leaf]))))
    for step in ("header", "kv_data", "tensors"):
        getattr(writer, f"write_{step}_to_file")()
    writer.close()


def make_base(kind, name, own, folder):
    """Writes the base of a run; returns what its config's `model` says of it, and its weights."""
    backbone, params = own.backbone, own.variables["params"]
    module, c = models.get(name), config(name, backbone, folder / "ours")
    if kind == "random":
        return c, params
    if kind == "original":
        params = one_norm_for_all_heads(params)
        original(backbone, params, folder / "base")
        return c | {"weights": str(folder / "base"), "tokenizer": ""}, params
    if kind == "gguf":
        gguf_file(backbone, params, folder / "base.gguf")
        seed = folder / "ours" / module.weights.SEED_FILE
        module.weights.save(backbone, params, folder / "ours")
        return c | {"weights": str(folder / "base.gguf"), "seed_weights": str(seed)}, params
    base = folder / "base"
    module.weights.save(backbone, params, base)
    export_files.write_beside(module.describe(backbone, c), base, "float32")
    if kind == "transformers":  # as its newest version saves
        theirs(base).save_pretrained(folder / "saved", max_shard_size="20KB")
        for path in base.iterdir():
            if path.name not in ("config.json", "model.safetensors"):
                path.rename(folder / "saved" / path.name)
        base = folder / "saved"
        assert (base / "model.safetensors.index.json").is_file()
    if kind == "bin":
        released.as_bin(base)
    return c | {"weights": str(base), "tokenizer": ""}, params


BASES = [
    *((name, kind) for name in NAMES for kind in ("random", "transformers")),
    ("chameleon", "original"),
    ("seed_llama", "bin"),
    ("seed_llama", "gguf"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), BASES)
def test_a_merged_export_of_each_kind_of_base_has_our_logits_in_transformers(
    name, kind, request, tmp_path
):
    pytest.importorskip("torch")
    own = small(name, request)
    c, params = make_base(kind, name, own, tmp_path)
    lora = own.variables["lora"]
    trained = params["decoder"] if kind == "random" else lora
    out = tmp_path / "merged"
    export.export(run(tmp_path / "run", c, trained), "merged", out, "float32")
    ours = logits(own.backbone, params, None if kind == "random" else lora)
    equal(their_logits(theirs(out)), ours)
    # it is a base of ours as well
    again = config(name, own.backbone, tmp_path / "again", weights=str(out), tokenizer="")
    module = models.get(name)
    loaded = module.load(
        module.build(again), again, jax.random.key(1), meshes.make(data=1, fsdp=-1)
    )
    equal(logits(own.backbone, loaded["params"]), ours)
    words(own.backbone, out)


def words(backbone, folder):
    """The export's tokenizer in transformers gives our ids."""
    from transformers import AutoTokenizer

    text = "w3 w4 w5" if hasattr(backbone, "vision") else "abc"
    ours = backbone.renderer.tokenizer.encode(text, add_special_tokens=False).ids
    assert AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False).input_ids == ours


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_loads_in_peft_with_no_key_missing_or_left_over(name, request, tmp_path):
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    own = small(name, request)
    c, params = make_base("transformers", name, own, tmp_path)
    lora, out = own.variables["lora"], tmp_path / "adapter"
    export.export(run(tmp_path / "run", c, lora), "peft", out)
    model = theirs(tmp_path / "saved")
    adapted = peft.PeftModel.from_pretrained(model, out).eval()
    held = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    held = {name: x for name, x in held.items() if ".base_layer." not in name}  # the frozen head
    saved = safetensors_io.read(out / "adapter_model.safetensors")
    assert set(held) == set(saved)
    assert all(torch.equal(x, torch.tensor(np.array(saved[n]))) for n, x in held.items())
    equal(their_logits(adapted), logits(own.backbone, params, lora))
    made = (out / "README.md").read_text()
    assert 'library_name: "peft"' in made and "PEFT reads it" in made


@pytest.mark.slow
def test_adapters_of_pefts_kinds_are_refused_or_have_pefts_logits(request, tmp_path):
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    own = small("seed_llama", request)
    _, params = make_base("transformers", "seed_llama", own, tmp_path)
    table, layers = models.get("seed_llama").weights.table(own.backbone), ["q_proj", "down_proj"]

    def adapter(name, **options):
        torch.manual_seed(0)
        lora = peft.LoraConfig(r=4, lora_alpha=6, target_modules=layers, **options)
        model = peft.get_peft_model(theirs(tmp_path / "saved"), lora)
        for weight in model.parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, std=0.3)
        model.save_pretrained(tmp_path / name)
        return model.eval()

    lora = Lora(rank=4, alpha=12.0, targets=("q", "down"))  # 6 times the root of 4
    backbone = dataclasses.replace(own.backbone, c=own.backbone.c._replace(lora=lora))
    like = jax.eval_shape(backbone.init, jax.random.key(0))["lora"]
    model = adapter("rslora", use_rslora=True)
    read = hf.load_adapter(table, tmp_path / "rslora", like, alpha=12.0)
    equal(their_logits(model), logits(backbone, params, read))
    for name, options, message in (
        ("pissa", {"init_lora_weights": "pissa"}, "init_lora_weights 'pissa', which changed"),
        ("dora", {"use_dora": True}, "uses use_dora; only plain LoRA fits"),
        ("head", {"modules_to_save": ["lm_head"]}, "uses modules_to_save; only plain LoRA"),
        ("ranks", {"rank_pattern": {"q_proj": 2}}, "uses rank_pattern; only plain LoRA"),
        ("biases", {"lora_bias": True}, "uses lora_bias; only plain LoRA"),
    ):
        adapter(name, **options)
        with pytest.raises(ValueError, match=message):
            hf.load_adapter(table, tmp_path / name, like, alpha=12.0)


@pytest.mark.slow
def test_the_processor_of_an_export_gives_the_runs_pixels(request, tmp_path):
    pytest.importorskip("torch")
    from transformers import AutoImageProcessor

    own = small("qwen25vl", request)
    c, _ = make_base("transformers", "qwen25vl", own, tmp_path)
    c |= {"min_pixels": 3136, "max_pixels": 12544}
    out = tmp_path / "out"
    export.export(run(tmp_path / "run", c, own.variables["lora"]), "merged", out)
    photo = np.random.default_rng(0).integers(0, 255, (200, 400, 3), np.uint8)
    # of the same backend as ours: Pillow's resampling
    processor = AutoImageProcessor.from_pretrained(out, backend="pil")
    made = processor(images=[Image.fromarray(photo)], return_tensors="np")
    backbone = models.get("qwen25vl").build(c)
    image = backbone.renderer._image(Example("a", (photo,), ""), photo)
    grid = [n * backbone.vision.patch for n in made["image_grid_thw"][0][1:]]
    assert grid == list(image.shape[:2]) == [56, 140]
    scaled = (image / 255 - np.array([0.48145466, 0.4578275, 0.40821073])) / np.array(
        [0.26862954, 0.26130258, 0.27577711]
    )
    assert made["pixel_values"].mean() == pytest.approx(scaled.mean(), abs=1e-5)


@pytest.mark.slow
def test_chameleons_processor_gives_the_runs_pixels(request, tmp_path):
    pytest.importorskip("torch")
    from transformers import AutoImageProcessor

    own = small("chameleon", request)
    c, _ = make_base("original", "chameleon", own, tmp_path)
    out = tmp_path / "out"
    export.export(run(tmp_path / "run", c, own.variables["lora"]), "merged", out)
    photo = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    processor = AutoImageProcessor.from_pretrained(out, backend="pil")
    made = processor(images=[Image.fromarray(photo)], return_tensors="np")["pixel_values"][0]
    ours = own.backbone.renderer.preprocess(photo) / 255 * 2 - 1
    np.testing.assert_allclose(made.transpose(1, 2, 0), ours, atol=1e-5)
