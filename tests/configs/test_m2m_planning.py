"""The presets of ways through grids."""

import json

import pytest
from helpers.flags import ROOT

from assets.make_grid_files import GRID
from configs import m2m
from mmcot_jax import main, models, rewards, stages, tasks
from mmcot_jax.models.chameleon.config import VQGANConfig

TINY = [preset for preset in m2m.PLANNING if not preset.endswith("7b")]


@pytest.mark.parametrize("preset", m2m.PLANNING)
def test_a_preset_names_stages_tasks_and_rewards_that_exist(preset):
    c = m2m.get_config(preset)
    stages.check(c)
    text = "text" in preset
    assert c.model.draws != text
    assert c.data.train.chain == ("textual" if text else "drawn")
    assert c.data.train.walk == ("optimal" if preset.endswith("optimal") else "random")
    assert all(name in rewards.REWARDS for name in c.grpo.reward_funcs)


@pytest.mark.parametrize("preset", TINY)
def test_the_longest_rows_are_those_of_the_plan_and_fit(preset):
    c = m2m.get_config(preset)
    assert VQGANConfig(**c.model.vqgan) == GRID
    backbone = models.get("chameleon").build(c.model.to_dict(), learn="chain", eos=True)
    options = {**c.data.train, "count": 60}
    rows = [backbone.renderer.supervise(e) for e in tasks.get("frozenlake").load(**options)]
    longest = max(len(row.tokens) for row in rows)
    prompts = [backbone.renderer.prompt(e) for e in tasks.get("frozenlake").load(**options)]
    prompt = max(len(row.tokens) for row in prompts)
    assert prompt <= c.plan.prompt_tokens and longest <= c.plan.row_tokens <= c.model.context
    assert longest - prompt <= c.grpo.max_completion_length


@pytest.mark.parametrize(("base", "cost"), [("planning", 10), ("planning-text", 5)])
def test_the_rivals_are_sft_alone_that_computes_as_much(base, cost):
    learned = m2m.get_config(base)
    for rival, walk in (("optimal", "optimal"), ("walks", "random")):
        c = m2m.get_config(f"{base}-{rival}")
        assert tuple(c.stages) == ("sft", "eval") and c.data.train.walk == walk
        assert c.sft.max_steps == learned.sft.max_steps + cost * learned.grpo.max_steps
        assert c.eval == learned.eval and c.model == learned.model


@pytest.mark.slow
def test_drawn_ways_are_decoded_for_rewards_and_for_every_evaluation(tmp_path):
    small = {
        "sft.max_steps": 2, "grpo.max_steps": 2, "grpo.eval_steps": 1, "grpo.eval_count": 4,
        "grpo.num_generations_eval": 2, "grpo.prompts_per_step": 8, "grpo.num_generations": 2,
        "grpo.max_completion_length": 40, "eval.max_completion_length": 40, "eval.batch_size": 8,
        "eval.data.count": 4, "data.train.count": 40, "data.grpo.count": 20,
        "model.decoder.width": 32, "model.decoder.layers": 1, "model.decoder.unroll": 1,
    }  # fmt: skip
    flags = [f"--config.{key}={value}" for key, value in small.items()]
    config = f"--config={ROOT}/configs/m2m.py:planning"
    assert main.main([config, f"--workdir={tmp_path}", *flags]) == 0
    found = json.loads((tmp_path / "results.json").read_text())["frozenlake"]
    assert found["n"] == 8 and set(found["sides"]) == {"3", "4"}
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["stage"] == "grpo" and "rewards/goal/mean" in line]
    assert len(steps) == 2 and all(line["failures/goal"] == 0 for line in steps)
    assert all(-5 <= line["rewards/progress/mean"] <= 1 for line in steps)
    assert any("eval_pass@1" in line for line in lines)
