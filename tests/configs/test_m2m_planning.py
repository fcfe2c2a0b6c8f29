"""The presets of ways through grids."""

import pytest

from assets.make_grid_files import GRID
from configs import m2m
from mmcot_jax import models, rewards, stages, tasks
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


@pytest.mark.parametrize("base", ["planning", "planning-text"])
def test_the_rivals_are_sft_alone_that_computes_as_much(base):
    learned = m2m.get_config(base)
    for rival, walk in (("optimal", "optimal"), ("walks", "random")):
        c = m2m.get_config(f"{base}-{rival}")
        assert tuple(c.stages) == ("sft", "eval") and c.data.train.walk == walk
        assert c.sft.max_steps == learned.sft.max_steps + 4 * learned.grpo.max_steps
        assert c.eval == learned.eval and c.model == learned.model
