import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import tiny
from helpers.disk import largest_file

from mmcot_jax import export, hf, safetensors_io
from mmcot_jax.ckpt import Checkpoints, write_manifest
from mmcot_jax.models.chameleon import weights
from mmcot_jax.models.chameleon.backbone import Chameleon
from mmcot_jax.nn.decoder import DecoderConfig
from mmcot_jax.nn.linear import Lora
from mmcot_jax.types import TrainState

LORA = Lora(rank=2, alpha=4.0, dropout=0.1, targets=("q", "v"))
BACKBONE = Chameleon(
    DecoderConfig(vocab=28, width=8, layers=2, heads=2, kv_heads=2, mlp=6, qk_norm=True, lora=LORA),
    tiny.VQGAN,
    tiny.chameleon_renderer(),
    context=16,
)


@pytest.fixture(scope="module")
def variables():
    return tiny.random(BACKBONE).variables


@pytest.fixture
def base(tmp_path, variables):
    """A folder of base weights, as downloaded."""
    weights.save(BACKBONE, variables["params"], tmp_path / "base")
    for name in ("config.json", "tokenizer.json", "model.safetensors.index.json"):
        (tmp_path / "base" / name).write_text("{}")
    (tmp_path / "base" / "model.safetensors.index.json").unlink()
    return tmp_path / "base"


@pytest.fixture
def run(tmp_path, base):
    """Makes a run's folder with a checkpoint of what it trained."""
    model = tiny.config("chameleon", BACKBONE, tmp_path) | {"weights": str(base)}

    def make(trained, stage="sft", **data):
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(
            json.dumps({"seed": 42, "stages": ["sft", "grpo", "eval"], "model": model})
        )
        opt = optax.adamw(1e-3).init(trained)
        with Checkpoints(folder / "checkpoints" / stage) as checkpoints:
            zeros = jax.tree.map(jnp.zeros_like, trained)
            checkpoints.save(3, TrainState(jnp.asarray(2), zeros, opt), data)
            checkpoints.save(12, TrainState(jnp.asarray(12), trained, opt), data)
        return folder

    return make


def test_adapters_are_exported_from_the_last_step(run, variables, tmp_path, base, capsys):
    out = tmp_path / "adapter"
    assert export.main([str(run(variables["lora"])), "--to", "peft", str(out)]) == 0
    assert capsys.readouterr().out == (
        f"sft step 12, last; the run is not finished\n{out}: README.md, adapter_config.json, "
        "adapter_model.safetensors, export.json, training_config.json\n"
    )
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables["lora"])
    loaded = hf.load_adapter(weights.table(BACKBONE), out, like, alpha=4.0)
    jax.tree.map(np.testing.assert_array_equal, loaded, variables["lora"])
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)
    assert config["target_modules"] == ["q_proj", "v_proj"]


def test_merged_weights_hold_base_and_adapter(run, variables, tmp_path):
    names = export.export(run(variables["lora"], "grpo"), "merged", tmp_path / "out", "float32")
    assert names == [
        "README.md", "config.json", "export.json", "generation_config.json", "model.safetensors",
        "preprocessor_config.json", "processor_config.json", "tokenizer.json",
        "tokenizer_config.json", "training_config.json", "vqgan.safetensors",
    ]  # fmt: skip
    tensors = safetensors_io.read(tmp_path / "out" / "model.safetensors")
    layer = jax.tree.map(lambda x: np.asarray(x[1]), variables["lora"]["decoder"]["layers"])
    q = layer["attention"]["q"]
    kernel = np.asarray(variables["params"]["decoder"]["layers"]["attention"]["q"]["kernel"][1])
    np.testing.assert_allclose(
        tensors["model.layers.1.self_attn.q_proj.weight"],
        (kernel + 2.0 * q["a"] @ q["b"]).T,  # alpha 4 / rank 2
        rtol=1e-5,
    )
    k = variables["params"]["decoder"]["layers"]["attention"]["k"]["kernel"][1]
    np.testing.assert_array_equal(tensors["model.layers.1.self_attn.k_proj.weight"], k.T)


def test_merged_weights_are_bfloat16_unless_said_otherwise_the_painter_stays_whole(
    run, variables, tmp_path
):
    export.export(run(variables["lora"]), "merged", tmp_path / "out")
    tensors = safetensors_io.read(tmp_path / "out" / "model.safetensors")
    assert {x.dtype for x in tensors.values()} == {np.dtype(jnp.bfloat16)}
    pictures = safetensors_io.read(tmp_path / "out" / "vqgan.safetensors")
    assert {x.dtype for x in pictures.values()} == {np.dtype(np.float32)}


def test_a_run_that_trained_everything_is_exported_whole(run, variables, tmp_path):
    trained = jax.tree.map(lambda x: x + 1, variables["params"]["decoder"])
    export.export(run(trained), "merged", tmp_path / "out", "float32")
    tensors = safetensors_io.read(tmp_path / "out" / "model.safetensors")
    np.testing.assert_array_equal(tensors["model.norm.weight"], trained["norm"]["scale"])


def test_a_run_that_trained_everything_has_no_adapter(run, variables, tmp_path, capsys):
    folder = run(variables["params"]["decoder"])
    assert export.main([str(folder), "--to", "peft", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        "export: this stage trained all weights, it has no adapter; export --to merged\n"
    )


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"no run at .*: it has no config.json; give the --workdir"
    ):
        export.read_config(tmp_path)


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no checkpoint in .*checkpoints; train it first"):
        export.find_checkpoint(tmp_path, {"stages": ("sft", "eval")})


BEST = {"grpo": {"load_best_model_at_end": True}}
MEASURED = {"stage": "grpo", "step": 4, "checkpoint": "best", "what": "lora"}


def empty_checkpoint(folder):
    folder.mkdir(parents=True)
    write_manifest(folder, int(folder.name))


@pytest.mark.parametrize(
    ("choice", "config", "policy", "found"),
    [
        # by default what results.json was measured on
        ("", {}, MEASURED, ("grpo", 4, "best")),
        ("", {}, MEASURED | {"step": 8, "checkpoint": "last"}, ("grpo", 8, "last")),
        ("", BEST, MEASURED | {"stage": "sft", "step": 3}, ("sft", 3, "last")),
        # without trained weights in the results: what the last stage hands on
        ("", {}, None, ("grpo", 8, "last")),
        ("", BEST, None, ("grpo", 4, "best")),
        ("", {}, {"stage": "start", "step": 0, "checkpoint": None}, ("grpo", 8, "last")),
        ("last", BEST, MEASURED, ("grpo", 8, "last")),
        ("best", {}, None, ("grpo", 4, "best")),
        ("grpo:6", {}, None, ("grpo", 6, "last")),
        ("grpo:4", {}, None, ("grpo", 4, "best")),  # the best is kept, its step is not
        ("grpo:best", {}, None, ("grpo", 4, "best")),
        ("sft:last", {}, None, ("sft", 3, "last")),
    ],
)
def test_a_checkpoint_is_chosen_by_name(tmp_path, choice, config, policy, found):
    for name in ("sft/1", "sft/3", "grpo/6", "grpo/8", "grpo_best/4"):
        empty_checkpoint(tmp_path / "checkpoints" / name)
    if policy:
        (tmp_path / "results.json").write_text(json.dumps({"policy": policy}))
    config = {"stages": ("sft", "eval", "grpo", "eval")} | config
    chosen = export.find_checkpoint(tmp_path, config, choice)
    assert chosen[:3] == found
    folder = f"{found[0]}_best" if found[2] == "best" else found[0]
    assert chosen.folder == tmp_path / "checkpoints" / folder / str(found[1])


def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    for name in ("sft/3", "grpo/8", "grpo_best/4"):
        empty_checkpoint(tmp_path / "checkpoints" / name)
    config = {"stages": ("sft", "grpo", "eval")}
    there = "checkpoints; there are: sft:3 last, grpo:4 best, grpo:8 last"
    for choice in ("grpo:7", "sft:best", "gpro:8", "newest"):
        with pytest.raises(ValueError, match=f"--checkpoint {choice} is not in .*{there}"):
            export.find_checkpoint(tmp_path, config, choice)
    (tmp_path / "results.json").write_text(json.dumps({"policy": MEASURED | {"step": 2}}))
    with pytest.raises(ValueError, match=f"results.json is of grpo:2 best, which is not .*{there}"):
        export.find_checkpoint(tmp_path, config)


def test_adapters_on_a_trained_decoder_are_exported_with_it(run, variables, tmp_path, capsys):
    decoder = jax.tree.map(lambda x: x + 1, variables["params"]["decoder"])
    run(decoder, "sft", what="all")
    start = {"stage": "sft", "step": 12, "checkpoint": "last", "what": "all"}
    folder = run(variables["lora"], "grpo", what="lora", start=start)
    export.export(folder, "merged", tmp_path / "out", "float32")
    tensors = safetensors_io.read(tmp_path / "out" / "model.safetensors")
    np.testing.assert_array_equal(tensors["model.norm.weight"], decoder["norm"]["scale"])
    expected = hf.merge({"decoder": decoder}, variables["lora"], 4.0)["decoder"]["layers"]
    q = np.asarray(expected["attention"]["q"]["kernel"][0])
    np.testing.assert_array_equal(tensors["model.layers.0.self_attn.q_proj.weight"], q.T)
    said = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (said["stage"], said["step"], said["checkpoint"]) == ("grpo", 12, "last")
    assert export.main([str(folder), "--to", "peft", str(tmp_path / "adapter")]) == 2
    assert capsys.readouterr().err == (
        "export: the adapter belongs to the decoder that stage sft trained, not to "
        f"'{tmp_path}/base'; export --to merged\n"
    )
    shutil.rmtree(folder / "checkpoints" / "sft")
    with pytest.raises(ValueError, match=r"checkpoints/sft/12: it is not there; bring it back"):
        export.export(folder, "merged", tmp_path / "other")


def test_what_has_no_file_is_drawn_again_as_the_run_drew_it(run, variables, tmp_path):
    folder = run(variables["lora"])
    config = json.loads((folder / "config.json").read_text())
    config["model"] |= {"weights": ""}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"adapter belongs to a decoder that was drawn at random"):
        export.export(folder, "peft", tmp_path / "adapter")
    export.export(folder, "merged", tmp_path / "out", "float32")
    tensors = safetensors_io.read(tmp_path / "out" / "model.safetensors")
    made = BACKBONE.init(jax.random.fold_in(jax.random.key(42), 0))  # `Run.key(0)` of seed 42
    np.testing.assert_allclose(
        tensors["model.embed_tokens.weight"],
        made["params"]["decoder"]["embed"]["embedding"],
        rtol=1e-6,
    )


def test_a_damaged_checkpoint_is_passed_over(run, variables, tmp_path, capsys):
    folder = run(variables["lora"])
    (folder / "checkpoints/sft/12/data/metadata").write_bytes(b"")
    assert export.main([str(folder), "--to", "peft", str(tmp_path / "out")]) == 0
    assert "sft/12 is damaged: data/metadata has 0 bytes" in capsys.readouterr().err
    weights = safetensors_io.read(tmp_path / "out/adapter_model.safetensors")
    assert all(not x.any() for x in weights.values())  # step 3 is zeros
    (folder / "checkpoints/sft/3/data/metadata").unlink()
    assert export.main([str(folder), "--to", "peft", str(tmp_path / "other")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "sft/12 is damaged: data/metadata has 0 bytes" in line
    assert line.endswith("sft/3 is damaged: data/metadata is missing; give another --checkpoint")


def test_an_export_without_room_leaves_nothing_and_can_be_repeated(
    run, variables, tmp_path, capsys
):
    given = [str(run(variables["lora"])), "--to", "merged", str(tmp_path / "to/out")]
    (tmp_path / "to/.out.999999999/some folder").mkdir(parents=True)  # of a killed one
    with largest_file(10_000):
        assert export.main(given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("export: ") and "safetensors: File too large: raise the limit" in line
    assert list((tmp_path / "to").iterdir()) == []
    assert export.main(given) == 0


def test_an_export_may_be_pushed_and_a_dry_run_lists_its_files(run, variables, tmp_path, capsys):
    out = tmp_path / "adapter"
    command = [str(run(variables["lora"])), "--to", "peft", str(out), "--push", "me/anole"]
    assert export.main([*command, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[2:]] == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "export.json",
        "training_config.json", "me/anole",
    ]  # fmt: skip
    assert lines[-1] == "would be uploaded to me/anole"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", "{", r"config.json is damaged \(Expecting property name .*; put it back"),
        ("config.json", "[]", "config.json holds no JSON object; put it back from a copy"),
        ("config.json", '{"model_type": "llama"}', "no run at .*: its config.json has no stages"),
        ("results.json", '{"policy":', r"results.json is damaged \(Expecting value: .*; put it"),
        ("results.json", "[1]", "results.json holds no JSON object"),
    ],
)
def test_a_damaged_file_of_a_run_is_one_line(run, variables, tmp_path, name, text, message, capsys):
    folder = run(variables["lora"])
    (folder / name).write_text(text)
    assert export.main([str(folder), "--to", "peft", str(tmp_path / "out")]) == 2
    assert re.fullmatch(f"export: .*{message}.*\n", capsys.readouterr().err)


def test_an_export_of_an_unfinished_run_is_told_so(run, variables, tmp_path, capsys):
    folder = run(variables["lora"])
    assert export.main([str(folder), "--to", "peft", str(tmp_path / "a")]) == 0
    (folder / "finished").touch()
    assert export.main([str(folder), "--to", "peft", str(tmp_path / "b")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "step" in line] == [
        "sft step 12, last; the run is not finished",
        "sft step 12, last",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["", "out"], "RUN is empty; give a folder .is a variable of the shell not set"),
        (["run", ""], "OUT is empty; give a folder"),
        (["run", "/dev/null"], "OUT is '/dev/null', and /dev/null is not a folder; give another"),
        (["run", "out", "--checkpoint="], "--checkpoint is empty; give one, or leave the flag out"),
        (["run", "out", "--push="], "--push is ''; give NAME/REPOSITORY"),
        (["run", "out", "--push", "anole"], "--push is 'anole'; give NAME/REPOSITORY"),
        (["run", "out", "--dry-run"], "--dry-run is of --push, which is not given"),
        (["run"], "the following arguments are required: OUT"),
        (["run", "out", "--too", "peft"], "unrecognized arguments: --too peft"),
        (["run", "out", "--to", "gguf"], "argument --to: invalid choice: 'gguf'"),
        (["no-run", "out"], "no run at no-run: it has no config.json; give the --workdir of a run"),
    ],
)
def test_a_wrong_command_is_one_line(arguments, message, capsys):
    assert export.main([*arguments, "--to=peft"][: -1 if "--to" in arguments else None]) == 2
    err = capsys.readouterr().err
    assert re.fullmatch(f"export: {message}.*\n", err), err


def test_nothing_is_overwritten(run, variables, tmp_path, base):
    with pytest.raises(ValueError, match="is there already; give a folder that is new or empty"):
        export.export(run(variables["lora"]), "peft", base)
