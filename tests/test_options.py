"""The description of the options, and what a config is refused for before anything happens."""

import copy
import json
import pathlib
import re

import pytest
from helpers.flags import flags

from mmcot_jax import config, options, stages
from mmcot_jax import main as command
from mmcot_jax.options import markdown
from mmcot_jax.options.choices import STAGES
from mmcot_jax.options.table import OPTIONS

ROOT = pathlib.Path(__file__).parents[1]
PRESETS = {
    "m2m": ("7b", "7b-text", "tiny", "tiny-text", "planning", "planning-7b"),
    "t2m": ("8b", "8b-given-image", "tiny", "tiny-text", "smol-text", "smol-planning"),
    "m2t": ("7b", "3b-viscot", "3b-table", "tiny", "tiny-nlvr", "tiny-table"),
}


def load(name, *overrides):
    paradigm, _, preset = name.partition(":")
    return config.load(f"{ROOT}/configs/{paradigm}.py:{preset}", overrides)


# both decide how long to train, so that either may be off
LONG = [f"{stage}.{x}" for stage in ("sft", "grpo") for x in ("max_steps=5", "num_train_epochs=1")]
TINY = load("m2m:tiny")
BASE = load("m2m:tiny", *LONG).to_dict()


def keys(option):
    """The option's keys, those of all of the groups that a general one stands for."""
    if option.key.startswith("data.*."):
        name = option.key.removeprefix("data.*.")
        return [f"{group}.{name}" for group in ("data.train", "data.grpo", "eval.data")]
    if option.key == "model.TOWER.*":
        return ["model.vqgan.codes", "model.vision.width", "model.seed.heads"]
    return [option.key]


def changed(key, value):
    """A config with one option changed, as a configs/x.py could."""
    c = copy.deepcopy(BASE)
    *groups, name = key.split(".")
    group = c
    for part in groups:
        if not isinstance(group.get(part), dict):
            group[part] = {}
        group = group[part]
    group[name] = value
    return c


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_a_value_out_of_range_is_refused_in_one_line_that_names_the_option(option):
    refused = 0
    for key in keys(option):
        for value in option.values.outside:
            if options.is_off(option, value):
                continue
            refused += 1
            with pytest.raises(ValueError, match=f"^{re.escape(f'{key} is {value!r}')}") as error:
                options.check(changed(key, value))
            assert "\n" not in str(error.value)
    assert refused


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_values_in_range_and_off_values_are_taken(option):
    for key in keys(option):
        for value in (*option.values.inside, *option.off):
            options.check_values({key: value})
            assert options.accepts(key, value)


@pytest.mark.parametrize(
    "key", ["unclip.vae.dtype", "unclip.unet.param_dtype", "clip.param_dtype", "vision.dtype"]
)
def test_a_towers_type_is_one_of_the_decoders(key):
    options.check_values({f"model.{key}": "bfloat16"})
    with pytest.raises(ValueError, match=f"^model.{key} is 'bf16'"):
        options.check_values({f"model.{key}": "bf16"})


WITH_OFF = [(key, x) for option in OPTIONS for key in keys(option) for x in option.off]


@pytest.mark.parametrize(("key", "off"), WITH_OFF)
def test_a_config_may_switch_an_option_off(key, off):
    options.check(changed(key, off))
    # and so may a flag, also where the default has another type
    if key in config.flat(TINY):
        assert config.flat(load("m2m:tiny", f"{key}={off}"))[key] == off


OFF = (
    *(f"{stage}.{option}" for stage in ("sft", "grpo") for option in (
        "warmup_steps=0", "weight_decay=0", "max_grad_norm=None", "logging_steps=0", "save_steps=0",
        "save_total_limit=None", "max_steps=-1", "num_train_epochs=1", "what=lora",
        "image_weight=0")),
    "grpo.top_k=None", "eval.top_k=None", "grpo.reward_weights=None", "grpo.scale_rewards=False",
    "grpo.epsilon_high=None", "grpo.delta=None", "grpo.beta=0", "grpo.log_completions_steps=0",
    "grpo.num_completions_to_print=0", "grpo.kl_steps=0", "grpo.eval_steps=0",
    "grpo.metric_for_best_model=None", "grpo.preflight=false", "rollout_mesh=None",
    "rollout_keep=None", "data.train.guesses=0", "data.train.validation_count=0",
    "data.grpo.validation_count=0", "model.lora.rank=2", "model.lora.targets=all-linear",
    "mesh.data=-1", "mesh.fsdp=1",
)  # fmt: skip


@pytest.mark.slow
def test_a_run_with_all_options_off_takes_every_step_and_learns(tmp_path):
    assert command.main(flags(tmp_path, *OFF)) == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    # 24 rows: one batch of 16, and 3 of 8 prompts; only the last step is logged and saved
    assert [(m["stage"], m["step"]) for m in lines if m["stage"] != "eval"] == [
        ("sft", 0),
        ("grpo", 2),
    ]
    assert all(m["grad_norm"] > 0 for m in lines if m["stage"] != "eval")
    saved = sorted(p.parent.name + p.name for p in (tmp_path / "checkpoints").glob("*/[0-9]*"))
    assert saved == ["grpo3", "sft1"]
    assert not list((tmp_path / "completions").glob("grpo*"))


def test_every_option_of_every_preset_is_described_and_every_preset_is_accepted():
    words = {"chain", "wording", "split", "form", "frame", "part", "prompt", "boxes", "released"}
    words |= {"source", "images", "task", "preprocess", "tokenizer", "draws", "system"}
    words |= {"walk", "question", "sizes"}
    for paradigm, presets in PRESETS.items():
        for preset in presets:
            c = load(f"{paradigm}:{preset}")
            options.check(c)
            unknown = {key for key in config.flat(c) if options.find(key) is None}
            names = {key.rpartition(".")[2] for key in unknown}
            assert not {n for n in names - words if not n.endswith(("_weights", "vqgan", "seed"))}
            assert not {key for key in unknown if key.startswith(("sft.", "grpo.", "mesh."))}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["sft.max_steps=0"], r"sft would take no step: sft.max_steps is 0 and .*epochs 0.0; give"),
        (["sft.max_steps=-1"], r"sft would take no step: sft.max_steps is -1"),
        (["grpo.num_train_epochs=0", "grpo.max_steps=-1"], r"grpo would take no step"),
        (["grpo.warmup_steps=5"], "'constant', which has no warm-up.*=constant_with_warmup, or"),
        (["grpo.lr_scheduler_type=step"], "'step'; choose from constant, constant_with_warmup"),
        (["sft.what=lora"], r"sft.what is 'lora' and .* no adapters: model.lora.rank is 0"),
        (["sft.what=lora", "model.lora.rank=4"], r"model.lora.rank is 4 and .*targets \(\)"),
        (["model.lora.targets=query"], "has 'query'; there are: q, k, v, o, gate, up, down, head"),
        (["model.lora.targets=q,v,gaet"], "has 'gaet', did you mean 'gate'"),
        (["model.decoder.heads=5"], "model.decoder.heads is 5 and width 192; a head needs an even"),
        (["model.decoder.kv_heads=3"], "model.decoder.kv_heads is 3 and heads 2; give a divisor"),
        (["grpo.max_completion_length=640"], "is 640 and model.context 640, of prompt and compl"),
        (["eval.max_completion_length=900"], "eval.max_completion_length is 900 and"),
        (["stages=()"], r"stages is \(\); give one name or more"),
        (["data.train.kinds=()"], r"data.train.kinds is \(\)"),
        (["grpo.scale_rewards=grp"], "grpo.scale_rewards is 'grp', did you mean 'group'"),
        (["grpo.top_k=-1"], "grpo.top_k is -1; .* 0 or None: keeps all tokens"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_the_first_stage(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        stages.check(load("m2m:tiny", *changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["m2m:7b", "t2m:8b", "m2t:3b-viscot"])
def test_all_weights_are_not_trained_in_bfloat16(name):
    both = ["sft.what=all", "grpo.what=all", "model.decoder.base_dtype=None"]
    with pytest.raises(
        ValueError, match=r"in which most updates .* set model.decoder.param_dtype="
    ):
        options.check(load(name, *both))
    options.check(load(name, *both, "model.decoder.param_dtype=float32"))


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_int8_weights_are_not_trained(stage):
    base = ["model.decoder.base_dtype=int8"]
    options.check(load("m2t:7b", *base))
    with pytest.raises(
        ValueError, match=rf"{stage}.what is 'all' and .* 'int8'.*{stage}.what=lora"
    ):
        options.check(load("m2t:7b", *base, f"{stage}.what=all"))
    with pytest.raises(ValueError, match=r"base_dtype is 'int4'.*int8; None: param_dtype"):
        options.check(load("m2t:7b", "model.decoder.base_dtype=int4"))


def test_one_answer_taken_by_its_likelihood_is_not_given_several_times():
    with pytest.raises(ValueError, match=r"eval.num_generations is 5 and eval.greedy true"):
        options.check(load("t2m:tiny", "eval.greedy=true"))


def test_options_that_a_group_does_not_have_or_lacks_are_named():
    c = changed("sft.max_stepz", 3)
    with pytest.raises(ValueError, match="sft has 'max_stepz', did you mean 'max_steps'"):
        options.check(c)
    c = copy.deepcopy(BASE)
    del c["grpo"]["top_k"], c["grpo"]["beta"]
    with pytest.raises(ValueError, match=r"the config has no grpo.top_k, grpo.beta; configs/base"):
        options.check(c)
    c["eval"]["my_task_reads_it"] = 1
    c["grpo"] |= {"top_k": 0, "beta": 0.0}
    options.check(c)


@pytest.mark.parametrize("part", ["stages", "seed", "sft", "model.lora", "data.grpo", "eval.data"])
def test_a_part_that_the_config_lacks_is_named(part):
    c = copy.deepcopy(BASE)
    group, _, name = part.rpartition(".")
    del (c[group] if group else c)[name]
    with pytest.raises(ValueError, match=f"the config has no .*{part}"):
        options.check(c)


def test_a_task_without_an_option_that_it_needs_is_refused_before_the_first_stage():
    c = load("t2m:tiny")
    with c.unlocked():
        del c.data.grpo["count"]
    with pytest.raises(
        ValueError, match="task 'scenes' needs count, and the config gives it chain"
    ):
        stages.check(c)


def test_pefts_names_of_layers_are_taken():
    assert options.lora_targets(("q_proj", "v_proj")) == ("q", "v")
    assert options.lora_targets(("lm_head", "v", "v_proj")) == ("v", "head")
    linear = ("q", "k", "v", "o", "gate", "up", "down")
    assert options.lora_targets("all-linear") == options.lora_targets(("all-linear",)) == linear


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("sft.max_steps", True),
        ("grpo.gradient_accumulation_steps", True),
        ("mesh.fsdp", True),
        ("rollout_mesh", True),
        ("data.train.processes", True),
        ("eval.sets.aokvqa.progress", True),
        ("sft.learning_rate", False),
        ("grpo.what", False),
        ("eval.data.count", False),
        ("seed", False),
        ("no.such", False),
    ],
)
def test_what_may_change_between_two_starts_of_a_run(key, expected):
    assert options.may_change(key) is expected


def test_the_stages_are_those_that_a_run_has():
    assert tuple(stages.STAGES) == STAGES


def test_the_tables_of_the_options_and_of_trls_names_are_the_printed_ones():
    assert (ROOT / "configs/OPTIONS.md").read_text() == markdown.all_options()
    begin, end = "<!-- python -m mmcot_jax.options --trl -->\n", "<!-- end of the table -->"
    readme = (ROOT / "README.md").read_text()
    assert readme.partition(begin)[2].partition(end)[0] == markdown.other_names()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("grpo.lora_r=8", "no config key 'grpo.lora_r'; TRL's lora_r is 'model.lora.rank' here"),
        ("sft.per_device_train_batch_size=1", "is 'sft.batch_size' here"),
        ("sft.use_peft=true", "is 'sft.what' or 'grpo.what' here"),
        (
            "sft.warmup_ratio=0.1",
            "no config key 'sft.warmup_ratio', did you mean 'sft.warmup_steps'",
        ),
    ],
)
def test_a_flag_by_trls_name_is_answered_with_the_name_here(flag, message):
    with pytest.raises(ValueError, match=message):
        load("m2m:tiny", flag)


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("sft.max_grad_norm=None", None),
        ("sft.max_grad_norm=2", 2.0),
        ("sft.warmup_steps=0.03", 0.03),
        ("sft.warmup_steps=3.0", 3),
        ("grpo.scale_rewards=True", True),
        ("grpo.scale_rewards=False", False),
        ("grpo.scale_rewards=batch", "batch"),
        ("grpo.reward_weights=None", None),
        ("grpo.reward_weights=()", ()),
        ("grpo.save_total_limit=None", None),
        ("grpo.top_k=None", None),
        ("model.weights=7", "7"),
        ("grpo.metric_for_best_model=None", None),
    ],
)
def test_a_flag_may_have_a_value_of_another_type_that_the_option_takes(flag, expected):
    found = config.flat(load("m2m:tiny", flag))[flag.partition("=")[0]]
    assert found == expected and type(found) is type(expected)
