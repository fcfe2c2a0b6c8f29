"""GRPO with a reward that looks at pictures: it is given what they show."""

import json

import jax
import numpy as np
import pytest

from configs import base
from mmcot_jax import data
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Example
from mmcot_jax.train import grpo

MINE = """
import numpy as np
from mmcot_jax.rewards import images
near = images.alignment(images.scene_embedder(lambda words: np.eye(5)[len(words)]))
"""


@pytest.mark.slow  # 25 s of compiling
def test_embeddings_of_drawn_pictures_are_rewarded(seed_llama, tmp_path):
    backbone, variables = seed_llama
    (tmp_path / "mine.py").write_text(MINE)
    near = f"{tmp_path}/mine.py:near"
    c = base.grpo(
        1e-3, 24, max_steps=1, prompts_per_step=8, num_generations=2, length_multiple=8,
        reward_funcs=("image_count", near), reward_weights=(1.0, 1.0), reward_processes=1,
    )  # fmt: skip
    examples = [Example(f"q{n}", ("abc"[n % 3],), "a", extra={"scene": "ab"}) for n in range(8)]
    variables = jax.tree.map(np.copy, variables)  # run gives them away
    mesh = meshes.make(data=1, fsdp=-1, tensor=1)
    questions = grpo.Questions(data.Rendered(examples, backbone.renderer.prompt))
    grpo.run(
        backbone, meshes.replicate(variables, mesh), lambda: questions, c, mesh=mesh,
        key=jax.random.key(0), seed=0, workdir=tmp_path,
    )  # fmt: skip
    lines = (tmp_path / "completions" / "grpo_step_00000.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    drawn = [row["near"] for row in rows if "<image>" in row["reply"]]
    assert len(rows) == 16 and len({round(score, 3) for score in drawn}) > 2
    assert all(row["near"] == 0 for row in rows if "<image>" not in row["reply"])
