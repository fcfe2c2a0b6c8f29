"""Every preset of every config builds; the full-size ones have the study's adapters."""

import math
import pathlib
import runpy

import jax
import pytest
from clu.parameter_overview import count_parameters

from assets import make_chameleon_vqgan as fit
from mmcot_jax import config, models, stages, tasks
from mmcot_jax.train import checks
from mmcot_jax.train.objective import from_config

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
CHAMELEON = f"model.tokenizer={models.__path__[0]}/chameleon/tiny_tokenizer.json"


@pytest.mark.parametrize("preset", ["7b", "7b-text", "tiny", "tiny-text", "tiny-few-chains"])
def test_a_preset_of_m2m_names_stages_tasks_and_a_backbone_that_exist(preset):
    c = config.load(f"{CONFIGS}/m2m.py:{preset}")
    stages.check(c)
    assert c.model.draws == (not preset.endswith("text"))
    assert c.data.train.chain == ("textual" if preset.endswith("text") else "multimodal")
    assert len(c.eval.data.kinds) == 20


def test_the_default_is_anole_7b_with_the_studys_settings():
    c = config.load(f"{CONFIGS}/m2m.py")
    assert (c.sft.learning_rate, c.sft.lr_scheduler_type, c.sft.num_train_epochs) == (
        2e-5,
        "linear",
        20,
    )
    assert (c.data.train.count, len(c.data.train.kinds), c.sft.batch_size) == (5000, 5, 16)
    lora = c.model.lora
    assert (lora.rank, lora.alpha, lora.dropout, lora.targets) == (8, 16.0, 0.1, ("q", "v"))


def test_the_7b_has_the_studys_4194304_trained_weights():
    c = config.load(f"{CONFIGS}/m2m.py:7b", [CHAMELEON])
    backbone = models.get("chameleon").build(c.model.to_dict())
    shapes = jax.eval_shape(backbone.init, jax.random.key(0))
    assert count_parameters(shapes["lora"]) == 4_194_304


def test_tinys_vqgan_is_the_fitted_one():
    c = config.load(f"{CONFIGS}/m2m.py:tiny")
    assert fit.TINY == fit.TINY._replace(**c.model.vqgan)


@pytest.mark.parametrize("name", ["m2m", "m2t", "t2m"])
def test_the_longest_prompt_of_a_preset_leaves_room_for_its_completion(name):
    for preset in runpy.run_path(f"{CONFIGS}/{name}.py")["PRESETS"]:
        c = config.load(f"{CONFIGS}/{name}.py:{preset}")
        most = max(c[group].max_completion_length for group in ("grpo", "eval"))
        assert c.plan.prompt_tokens + most <= c.model.context, preset


def test_the_prompt_of_a_512_pixel_puzzle_leaves_room_for_a_completion_of_the_7b():
    c = config.load(f"{CONFIGS}/m2m.py:7b", [CHAMELEON])
    renderer = models.get("chameleon").build(c.model.to_dict()).renderer
    kinds = ("rectangle_height_number", "color_overlap_squares")  # all that this tokenizer spells
    for example in tasks.get("puzzlevqa").stream(kinds, count=1, size=512, chain="none"):
        length = len(renderer.prompt(example).tokens)
        assert 1026 < length <= c.plan.prompt_tokens
        budget = c.grpo.max_completion_length
        checks.check_prompt(renderer.prompt(example), c.model.context, budget)


@pytest.mark.reference
def test_the_longest_chains_of_nlvr_fit_the_completion_of_the_released_model(reference):
    tokenizer = reference / "data/tokenizers/qwen2_5/tokenizer.json"
    c = config.load(f"{CONFIGS}/m2t.py:3b-colab", [f"model.tokenizer={tokenizer}"])
    with c.unlocked():
        c.model.weights = ""
    renderer = models.get("qwen25vl").build(c.model.to_dict()).renderer
    for split in ("train", "test"):
        examples = tasks.get("nlvr").load(
            str(reference / "data/nlvr"), split=split, form="options", boxes=True
        )
        rows = [renderer.supervise(examples.sized(n)) for n in range(len(examples))]
        assert 256 < max(row.loss.sum() for row in rows) <= c.grpo.max_completion_length


TOKENIZER = f"model.tokenizer={models.__path__[0]}/qwen25vl/tiny_tokenizer.json"


@pytest.mark.parametrize(
    ("preset", "adapted"),
    [
        ("7b", 21_430_272),
        ("7b-noboxes", 21_430_272),
        ("3b-viscot", 14_966_784),
        ("3b-colab", 14_966_784),
        ("tiny", 0),
    ],
)
def test_a_preset_of_m2t_builds_and_adapts_every_linear_layer(preset, adapted):
    overrides = [] if preset == "tiny" else [TOKENIZER]
    c = config.load(f"{CONFIGS}/m2t.py:{preset}", overrides)
    stages.check(c)
    backbone = models.get("qwen25vl").build(c.model.to_dict(), learn=c.sft.learn, eos=c.sft.eos)
    shapes = jax.eval_shape(backbone.init, jax.random.key(0))
    assert count_parameters(shapes.get("lora", {})) == adapted


def test_m2t_has_the_known_settings_of_the_study():
    c = config.load(f"{CONFIGS}/m2t.py")
    assert (c.model.lora.rank, c.model.lora.alpha, c.model.lora.dropout) == (8, 16.0, 0.05)
    assert (c.grpo.learning_rate, c.grpo.max_completion_length) == (1e-5, 256)
    assert c.grpo.reward_funcs == ("tagged_accuracy", "iou", "tagged_format")
    assert (c.eval.max_completion_length, c.eval.greedy) == (512, True)
    assert (c.eval.repetition_penalty, c.grpo.repetition_penalty) == (1.05, 1.0)
    assert {name: one.split for name, one in c.eval.sets.items()} == {
        "aokvqa": "test",
        "drivingvqa": "test",
    }


def test_without_boxes_no_prompt_and_no_reward_has_them():
    c = config.load(f"{CONFIGS}/m2t.py:7b-noboxes")
    groups = (c.data.train, c.data.grpo, *c.eval.sets.values())
    assert [group.boxes for group in groups] == [False] * 4
    assert c.grpo.reward_funcs == ("tagged_accuracy", "tagged_format")
    assert c.grpo.reward_weights == (1.0, 0.5)


def test_the_scale_up_keeps_twenty_checkpoints_and_skips_bad_records():
    c = config.load(f"{CONFIGS}/m2t.py:3b-viscot")
    assert (c.data.train.task, c.data.train.form, c.data.grpo.task) == ("aokvqa", "open", "viscot")
    assert (c.grpo.save_steps, c.grpo.save_total_limit) == (189, None)
    assert math.ceil(3772 / c.grpo.save_steps) == 20  # the last step is saved too
    assert c.data.on_bad_record == "skip"


def test_the_scale_up_is_evaluated_on_six_benchmarks_of_which_some_may_be_chosen():
    spec = f"{CONFIGS}/m2t.py:3b-viscot"
    c = config.load(spec)
    stages.check(c)
    six = ["vqav2", "gqa", "pope", "scienceqa", "textvqa", "vizwiz"]
    assert set(stages.eval_sets(c)) == {"viscot", "aokvqa", *six}
    for name in six:
        task, given = tasks.resolve(name, dict(c.eval.sets[name]), {"max_bad": 0.05})
        assert given["subset"] == "study" and given["source"] == f"data/{name}"
        with pytest.raises(ValueError, match="no records: "):
            task.load(**given | {"source": f"/nowhere/{name}"})
    c = config.load(spec, ["eval.only=pope,gqa"])
    assert list(stages.eval_sets(c)) == ["pope", "gqa"]
    c = config.load(spec, ["eval.only=gqv"])
    with pytest.raises(
        ValueError, match=r"eval.only is 'gqv', did you mean 'gqa'.; choose from ao"
    ):
        stages.check(c)


def test_an_ablation_is_a_flag():
    overrides = ["data.grpo.task=drivingvqa", "grpo.reward_funcs=tagged_accuracy,iou", "seed=22"]
    c = config.load(f"{CONFIGS}/m2t.py", [*overrides, "grpo.reward_weights=1.0,1.0"])
    stages.check(c)
    assert stages.task_name(c, c.data.grpo) == "drivingvqa"


PARADIGMS = {"m2m": "chameleon", "t2m": "seed_llama", "m2t": "qwen25vl"}


def tiny(paradigm: str, *overrides: str):
    return config.load(f"{CONFIGS}/{paradigm}.py:tiny", overrides)


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_full_and_tiny_models_have_the_same_keys(paradigm):
    full, small = config.load(f"{CONFIGS}/{paradigm}.py").model, tiny(paradigm).model
    assert full.keys() == small.keys() and full.adapter == small.adapter == ""
    for c in (full, small):
        assert c.decoder.remat_policy == "nothing"
        assert ("norm_after" in c.decoder) == (paradigm == "m2m")
    assert tiny(paradigm, "model.adapter=runs/x").model.adapter == "runs/x"


@pytest.mark.parametrize("paradigm", PARADIGMS)
@pytest.mark.parametrize("size", ["", ":tiny"])
def test_what_weights_are_compared_with_is_a_flag(paradigm, size):
    """An error about weights of another rotation, norm or head names these keys."""
    c = config.load(f"{CONFIGS}/{paradigm}.py{size}").model
    assert {"eps", "rope_theta", "tied", "heads", "kv_heads"} <= set(c.decoder)
    if paradigm == "m2t" and not size:
        assert {"window", "patch", "merge", "frames", "full", "heads"} <= set(c.vision)


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_the_remat_policy_is_a_flag(paradigm):
    c = tiny(paradigm, "model.decoder.remat_policy=dots")
    backbone = models.get(PARADIGMS[paradigm]).build(c.model.to_dict())
    assert backbone.c.remat_policy == "dots"


def test_chameleons_norms_may_stand_after_their_sublayers():
    c = tiny("m2m", "model.decoder.norm_after=true")
    assert models.get("chameleon").build(c.model.to_dict()).c.norm_after


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_sapos_temperatures_reach_the_objective(paradigm):
    changes = ("grpo.sapo_temperature_pos=0.5", "grpo.sapo_temperature_neg=0.75")
    made = from_config(tiny(paradigm, "grpo.loss_type=sapo", *changes).grpo.to_dict())
    found = (made.loss_type, made.sapo_temperature_pos, made.sapo_temperature_neg)
    assert found == ("sapo", 0.5, 0.75)
    made = from_config(tiny(paradigm).grpo.to_dict())
    assert (made.sapo_temperature_pos, made.sapo_temperature_neg) == (1.0, 1.05)


def test_drawn_paths_of_planning_7b_fit_its_rows_and_completions():
    c = config.load(f"{CONFIGS}/m2m.py:planning-7b")
    picture, question = 1026, 1088
    for group in (c.data.train, c.data.grpo, c.eval.data):
        assert question + group.max_moves * picture < c.plan.row_tokens
        assert group.max_moves * picture < c.grpo.max_completion_length
    assert c.data.train.max_steps * picture + question < c.plan.row_tokens < c.model.context
