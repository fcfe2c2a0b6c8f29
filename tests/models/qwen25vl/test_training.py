"""The whole way on the tiny Qwen2.5-VL: it learns from what it sees, and its rollouts are scored
from the features they carry."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from mmcot_jax import data, rules
from mmcot_jax import mesh as meshes
from mmcot_jax.evals import answer as evals
from mmcot_jax.example import Example
from mmcot_jax.train import grpo, sft

pytestmark = pytest.mark.slow
RED, BLUE = (220, 30, 20), (20, 40, 230)


def picture(colour, h, w, seed):
    noise = np.random.default_rng(seed).integers(-20, 20, (h, w, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def examples(count, seed):
    """Which colour has the second of two images of different size? w1 is red, w2 is blue."""
    random = np.random.default_rng(seed)
    out = []
    for n in range(count):
        first, second = random.integers(0, 2, 2)
        shown = [
            picture((RED, BLUE)[c], int(random.integers(28, 90)), int(random.integers(28, 90)), n)
            for c in (first, second)
        ]
        answer = ("w1", "w2")[second]
        prompt = (shown[0], "w7", shown[1], "w8") if n % 4 else ("w7", shown[1], "w8")
        out.append(Example(f"{seed}-{n}", prompt, answer, rationale=(answer,)))
    return out


@pytest.fixture(scope="module")
def mesh():
    return jax.sharding.Mesh(np.array(jax.devices()[:2]).reshape(2, 1, 1), rules.AXES)


@pytest.fixture(scope="module")
def trained(qwen, mesh, tmp_path_factory):
    """After supervised steps on 64 questions: the whole decoder, the tower as it was drawn."""
    variables = {"params": jax.tree.map(jnp.copy, qwen.variables["params"])}
    variables = jax.device_put(variables, meshes.shardings(variables, mesh))
    source = data.Rendered(examples(64, 0), qwen.backbone.renderer.supervise)
    workdir = tmp_path_factory.mktemp("sft")
    c = base.sft(
        3e-3, what="all", max_steps=60, batch_size=16, length_multiple=16, length_buckets=2,
        gradient_accumulation_steps=2, logps_chunk=8, save_steps=1000,
    )  # fmt: skip
    out, _ = sft.run(
        qwen.backbone, variables, lambda: source, c, mesh=mesh, key=jax.random.key(1), seed=0,
        workdir=workdir,
    )  # fmt: skip
    return out, [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def answered(qwen, variables, mesh):
    c = base.sampling(4, batch_size=16, length_multiple=16)
    return evals.answer(
        qwen.backbone, variables, examples(24, 1), c, mesh=mesh, key=jax.random.key(2)
    )


def test_it_learns_to_tell_what_it_sees(qwen, trained, mesh):
    variables, metrics = trained
    assert metrics[0]["loss"] > 1 and metrics[-1]["loss"] < 0.2
    np.testing.assert_array_equal(
        variables["params"]["vision"]["outer"]["kernel"],
        qwen.variables["params"]["vision"]["outer"]["kernel"],
    )
    replies = answered(qwen, variables, mesh)
    assert np.mean([a.reply.text == a.example.answer for a in replies]) > 0.9
    assert all(a.ended for a in replies)
    assert "<image>" in replies[0].prompt


def named(example, reply):
    """A reward by this file's name."""
    return float("1" in reply.text)


def test_grpo_scores_rollouts_as_they_were_sampled(qwen, mesh, tmp_path):
    variables = jax.tree.map(jnp.copy, qwen.variables)
    variables = jax.device_put(variables, meshes.shardings(variables, mesh))
    c = base.grpo(
        1e-3, 6, reward_funcs=(f"{__file__}:named",), reward_weights=(),
        prompts_per_step=4, num_generations=4, num_iterations=2, max_steps=2, beta=0.1,
        gradient_accumulation_steps=2, temperature=0.7, top_p=0.9, prompt_buckets=2,
        length_multiple=16, logps_chunk=4, reward_processes=1, preflight=False,
        lr_scheduler_type="constant",
    )  # fmt: skip
    questions = grpo.Questions(data.Rendered(examples(16, 3), qwen.backbone.renderer.prompt))
    grpo.run(
        qwen.backbone, variables, lambda: questions, c, mesh=mesh, key=jax.random.key(7), seed=1,
        workdir=tmp_path,
    )  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    assert all(line["sampling/sampling_logp_difference/max"] < 1e-5 for line in lines)
    assert all(line["grad_norm"] > 0 and line["reward_std"] > 0 for line in lines)
