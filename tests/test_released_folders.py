"""Each paradigm's command on a published folder, its exports read by transformers and peft.

The weights are tiny. A folder goes through `main` (sft, grpo, eval), `export --to merged` and
`export --to peft`, each as a command of its own.
"""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers import released, tiny
from helpers.flags import REWARDS, ROOT
from test_export_files import equal, logits

from mmcot_jax import config, export_files, models, safetensors_io
from mmcot_jax import mesh as meshes

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

ADAPTERS = (
    "model.lora.rank=4", "model.lora.targets=q,v", "sft.what=lora", "grpo.what=lora",
    "sft.learning_rate=0.05", "grpo.learning_rate=0.05", "sft.warmup_steps=0",
)  # fmt: skip
FAST = (
    "stages=sft,grpo,eval", "model.tokenizer=", "model.decoder.width=32", "model.decoder.mlp=48",
    "model.decoder.layers=2", "model.decoder.unroll=1", "model.decoder.out_init=0.2",
    "data.train.count=16", "data.grpo.count=8", "sft.max_steps=2", "sft.batch_size=8",
    f"grpo.reward_funcs={REWARDS}:length", "grpo.reward_weights=1", "grpo.reward_processes=1",
    "grpo.max_steps=1", "grpo.num_generations=2", "grpo.prompts_per_step=8", "grpo.eval_steps=0",
    "grpo.max_completion_length=16", "grpo.mask_truncated_completions=false",
    "eval.max_completion_length=16", *ADAPTERS,
)  # fmt: skip
OWN = {
    "m2m": (
        "model.vqgan_weights=", "model.vqgan.ch=32", "model.vqgan.ch_mult=1,1",
        "model.vqgan.z_channels=4", "model.vqgan.embed_dim=4", "model.vqgan.resolution=4",
        "model.vqgan.groups=32",  # transformers has no other
        "data.train.kinds=color_grid", "data.train.processes=0", "data.grpo.kinds=color_grid",
        "data.grpo.processes=0", "data.train.validation_count=1", "data.grpo.validation_count=1",
        "eval.data.kinds=color_grid", "eval.count=2", "eval.transfer_count=2",
    ),
    "t2m": (
        "model.decoder.qk_norm=false", "model.context=256",
        "eval.data.count=2", "eval.num_generations=2",
    ),
    "m2t": (
        "model.decoder.qk_norm=false", "model.decoder.width=96", "model.decoder.heads=2",
        "eval.sets.shapes.count=2",
    ),
}  # fmt: skip
"""Sizes that transformers' classes have."""


def command(module: str, *arguments: object) -> str:
    """Runs a command; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", f"mmcot_jax.{module}", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def built(paradigm: str, *changes: str):
    """A config's `model` and its backbone."""
    spec = f"{ROOT}/configs/{paradigm}.py:tiny"
    c = config.load(spec, [*FAST, *OWN[paradigm], *changes]).model.to_dict()
    return c, models.get(c["backbone"]).build(c)


def packaged(paradigm: str):
    """A backbone with the packaged tokenizer, and loud weights."""
    c, backbone = built(paradigm, "model.tokenizer=packaged:tiny_tokenizer.json")
    shapes = jax.eval_shape(backbone.init, jax.random.key(0))["params"]
    params = tiny.loud(shapes)
    if paradigm == "m2m":
        params = released.one_norm_for_all_heads(params)
    return c, backbone, params


def saved(paradigm: str, folder: pathlib.Path):
    """Writes transformers' layout."""
    c, backbone, params = packaged(paradigm)
    module = models.get(c["backbone"])
    module.weights.save(backbone, params, folder)
    export_files.write_beside(module.describe(backbone, c), folder, "float32")
    return backbone, params


# --- the folders: each returns its flags, and a folder that transformers reads -------------------


def anole_original(folder):
    """Anole-7b-v0.1 as it is published."""
    backbone, params = saved("m2m", folder / "hf")
    base = folder / "Anole-7b-v0.1"
    released.original(backbone, params, base)
    (base / "tokenizer/vqgan.yaml").write_text("model:\n  params: {}\n")
    for part in ("models/7b", "tokenizer"):
        (base / part / "checklist.chk").write_text("")
    return [f"model.weights={base}"], folder / "hf"


def anole_of_transformers(folder):
    """Anole as transformers saves it, the original release's vqgan.ckpt beside it."""
    backbone, params = saved("m2m", folder / "ours")
    base = folder / "Anole-7b-v0.1-hf"
    released.theirs(folder / "ours").save_pretrained(base, max_shard_size="100KB")
    for path in (folder / "ours").iterdir():
        if path.name not in ("config.json", "model.safetensors", "vqgan.safetensors"):
            path.rename(base / path.name)
    released.original(backbone, params, folder / "original")
    (folder / "original/tokenizer/vqgan.ckpt").rename(base / "vqgan.ckpt")
    assert (base / "model.safetensors.index.json").is_file()
    return [f"model.weights={base}"], base


def seed_llama_release(folder):
    """SEED-LLaMA: shards of torch's format; tokenizer.model with the image tokenizer's pickles."""
    sentencepiece = pytest.importorskip("sentencepiece")
    saved("t2m", base := folder / "seed-llama-8b-sft-comm")
    released.as_bin(base)
    seed = folder / "seed-tokenizer-2"
    seed.mkdir()
    parts = {
        name: torch.tensor(np.array(x))
        for name, x in safetensors_io.read(base / "seed_tokenizer.safetensors").items()
    }
    vit = "visual_encoder."
    torch.save(
        {n: x for n, x in parts.items() if not n.startswith(vit)}, seed / "seed_quantizer.pt"
    )
    tower = {n.removeprefix(vit): x for n, x in parts.items() if n.startswith(vit)}
    torch.save(tower, seed / "eva_vit_g.pth")
    for name in ("seed_tokenizer.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (base / name).unlink()
    for name in ("config.json", "generation_config.json"):  # the release's ids of marks are wrong
        made = json.loads((base / name).read_text())
        made |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1}
        (base / name).write_text(json.dumps(made))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["is the red square left of the blue circle? yes, no"] * 99),
        model_prefix=str(seed / "tokenizer"),
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (seed / "tokenizer_config.json").write_text('{"tokenizer_class": "SeedLlamaTokenizer"}')
    return [f"model.weights={base}", f"model.seed_weights={seed}"], base


def qwen_release(folder):
    """Qwen2.5-VL-7B-Instruct: shards of safetensors under the names of the release."""
    saved("m2t", folder / "ours")
    base = folder / "Qwen2.5-VL-7B-Instruct"
    released.theirs(folder / "ours").save_pretrained(base, max_shard_size="100KB")
    for path in (folder / "ours").iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.rename(base / path.name)
    made = json.loads((base / "preprocessor_config.json").read_text())
    made |= {"min_pixels": 3136, "max_pixels": 12845056}
    (base / "preprocessor_config.json").write_text(json.dumps(made))
    names = json.loads((base / "model.safetensors.index.json").read_text())["weight_map"]
    assert {"model.norm.weight", "visual.merger.ln_q.weight"} < set(names)
    return [f"model.weights={base}"], base


def qwen_of_memory(folder):
    """Qwen2.5-VL under the names that transformers has had in memory since 4.52."""
    saved("m2t", base := folder / "Qwen2.5-VL-3B-Instruct")
    new = {"visual.": "model.visual.", "model.": "model.language_model."}

    def rename(name):
        old = next((prefix for prefix in new if name.startswith(prefix)), "")
        return new.get(old, "") + name.removeprefix(old)

    released.rename(base, rename)
    assert "model.language_model.norm.weight" in safetensors_io.read(base / "model.safetensors")
    return [f"model.weights={base}"], base


@pytest.mark.slow
@pytest.mark.parametrize(
    ("paradigm", "make"),
    [
        ("m2m", anole_original),
        ("m2m", anole_of_transformers),
        ("t2m", seed_llama_release),
        ("m2t", qwen_release),
        ("m2t", qwen_of_memory),
    ],
)
def test_a_released_folder_goes_from_load_to_export_to_reload(paradigm, make, tmp_path):
    changes, base = make(tmp_path)
    run, merged, adapter = (tmp_path / name for name in ("run", "merged", "adapter"))
    flags = [f"--config.{change}" for change in (*FAST, *OWN[paradigm], *changes)]
    main = ("main", "--config", f"configs/{paradigm}.py:tiny", "--workdir", run, *flags)
    command(*main)
    assert (run / "finished").is_file() and (run / "results.json").is_file()
    command("export", run, merged, "--to", "merged", "--dtype", "float32")
    command("export", run, adapter, "--to", "peft")

    found = released.their_logits(released.theirs(merged))
    seed = ["model.seed_weights="] if paradigm == "t2m" else []
    c, backbone = built(paradigm, f"model.weights={merged}", *seed)
    mesh = meshes.make(data=1, fsdp=-1)
    ours = models.get(c["backbone"]).load(backbone, c, jax.random.key(1), mesh)
    expected, codes = logits(backbone, ours["params"]), c.get("vqgan", {}).get("codes", 0)
    equal(found, expected, codes)

    model = released.theirs(base)
    before = released.their_logits(model)
    adapted = peft.PeftModel.from_pretrained(model, adapter).eval()
    equal(released.their_logits(adapted), expected, codes)
    assert np.abs(found - before).max() > 1e-2  # it was trained

    words = "is the red square left?"
    ids = transformers.AutoTokenizer.from_pretrained(merged)(words, add_special_tokens=False)
    assert ids.input_ids == backbone.renderer.tokenizer.encode(words, add_special_tokens=False).ids
