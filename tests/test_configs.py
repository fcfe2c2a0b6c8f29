"""Every preset of every config builds; the full-size one has the study's number of adapters."""

import math
import pathlib

import jax
import pytest

from mmcot_jax import config, models, stages
from mmcot_jax.models.chameleon import fit

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("preset", ["7b", "7b-text", "tiny", "tiny-text"])
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
    c = config.load(
        f"{CONFIGS}/m2m.py:7b",
        [f"model.tokenizer={models.__path__[0]}/chameleon/tiny_tokenizer.json"],
    )
    backbone = models.get("chameleon").build(c.model.to_dict())
    shapes = jax.eval_shape(backbone.init, jax.random.key(0))
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(shapes["lora"])) == 4_194_304


def test_tinys_vqgan_is_the_fitted_one():
    c = config.load(f"{CONFIGS}/m2m.py:tiny")
    assert fit.TINY == fit.TINY._replace(**c.model.vqgan)
