"""Batches are sampled until all groups of a step are informative, or the limit is reached."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from mmcot_jax import data, rules
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Example
from mmcot_jax.train import checks, grpo
from mmcot_jax.train.dynamic_sampling import Sampled, take_groups
from mmcot_jax.types import Batch, Rollout

FILE = pathlib.Path(__file__).parents[1] / "rewards" / "some_rewards.py"
N, G = 8, 4
IMAGE = np.zeros((4, 4, 3), np.uint8)
EXAMPLES = [Example(f"q{i}", (IMAGE, "abcdefgh"[: 3 + i % 3]), "a") for i in range(8 * N)]
SMALL = dict(
    reward_funcs=(f"{FILE}:starts_with_a",), reward_weights=(), prompts_per_step=N,
    num_generations=G, max_steps=3, save_steps=1, log_completions_steps=1, length_multiple=4,
    logps_chunk=8, reward_processes=1, lr_scheduler_type="constant", preflight=False,
    dynamic_sampling=True, max_num_gen_batches=3,
)  # fmt: skip


def a_rollout(numbers, width, embeds=False):
    """A prompt of number k is k k .. k without padding; its completions are k too."""
    k = jnp.asarray(numbers, jnp.int32)[:, None]
    prompt = Batch(
        jnp.tile(k, width), jnp.tile(k, width)[None], jnp.ones((len(k), width), bool),
        jnp.zeros((len(k), width), bool),
        embeds=jnp.tile(k[..., None], (width, 2)).astype(jnp.float32) if embeds else None,
    )  # fmt: skip
    tokens = jnp.tile(k[..., None], (G, 3))
    return Rollout(prompt, tokens, tokens, tokens, tokens > 0, tokens > 0, 0.5 * tokens)


@pytest.mark.parametrize("embeds", [(True, True), (True, False)])
def test_groups_of_two_batches_become_one_whose_prompts_end_together(embeds):
    a, b = a_rollout([1, 2], 3, embeds[0]), a_rollout([3, 4], 5, embeds[1])
    both = take_groups(a, b, jnp.array([0, 3]))
    assert both.prompt.tokens.tolist() == [[0, 0, 1, 1, 1], [4] * 5]
    assert both.prompt.positions.tolist() == [both.prompt.tokens.tolist()]
    assert both.prompt.valid.tolist() == [[False, False, True, True, True], [True] * 5]
    second = 4.0 if embeds[1] else 0.0
    assert both.prompt.embeds[..., 1].tolist() == [[0, 0, 1, 1, 1], [second] * 5]
    assert both.tokens[:, 0].tolist() == [[1] * 3, [4] * 3]
    assert both.logps[:, 1].tolist() == [[0.5] * 3, [2.0] * 3]


def test_values_of_kept_groups_are_put_beside_the_replies_of_this_process():
    sampled = Sampled([], None, [], lambda: None, kept=np.array([3, 0]), batches=2)
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    mesh = meshes.make(1, devices=jax.devices()[:1])
    found = sampled.rows(values, np.nan, mesh)
    np.testing.assert_array_equal(found, [3, 4, np.nan, np.nan, np.nan, np.nan, 1, 2])


@pytest.fixture
def train(chameleon):
    """Trains in a folder on a mesh over some devices: lines of metrics.jsonl."""

    def run(workdir, devices=1, **changes):
        devices = np.array(jax.devices()[:devices]).reshape(1, -1, 1)
        mesh = jax.sharding.Mesh(devices, rules.AXES)
        c = base.grpo(1e-2, 12) | SMALL | changes
        checks.check_grpo(c, mesh, mesh, ("accuracy",))
        rows = data.Rendered(EXAMPLES, chameleon.backbone.renderer.prompt)
        variables = jax.tree.map(jnp.copy, chameleon.variables)  # they are given away
        variables = jax.device_put(variables, meshes.shardings(variables, mesh))
        where = {"mesh": mesh, "seed": 1, "workdir": workdir, "key": jax.random.key(7)}
        grpo.run(chameleon.backbone, variables, lambda: grpo.Questions(rows), c, **where)
        return lines(workdir / "metrics.jsonl")

    return run


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def completions(workdir, step):
    return lines(workdir / f"completions/grpo_step_{step:05}.jsonl")


def exact(metrics):
    timed = ("time/", "tokens_per_second/", "step_time")
    return [{k: v for k, v in m.items() if not k.startswith(timed)} for m in metrics]


class Stopped(BaseException):
    pass


@pytest.mark.slow
def test_a_step_samples_on_until_its_groups_are_informative(train, tmp_path, monkeypatch):
    metrics = train(tmp_path / "whole")
    batches = [int(m["dynamic_sampling/num_gen_batches"]) for m in metrics]
    assert 1 < max(batches) <= 3
    asked = []
    for step, (m, count) in enumerate(zip(metrics, batches, strict=True)):
        written = completions(tmp_path / "whole", step)
        assert len(written) == count * N * G
        assert m["dynamic_sampling/sampled_groups"] == count * N
        groups = [written[i : i + G] for i in range(0, len(written), G)]
        asked += [group[0]["id"] for group in groups]
        informative = [len({row["starts_with_a"] for row in group}) > 1 for group in groups]
        assert m["dynamic_sampling/kept_groups"] == min(sum(informative), N)
        assert sum(informative) >= N or count == 3
        first = np.argsort(~np.array(informative), kind="stable")[:N]
        trained = [all(row["advantage"] is not None for row in group) for group in groups]
        assert set(np.flatnonzero(trained)) == set(first)
        assert m["reward"] == pytest.approx(np.mean([row["starts_with_a"] for row in written]))
        assert m["sampling/sampling_logp_difference/max"] < 1e-4
    assert len(set(asked)) == len(asked)  # no question twice in an epoch

    # the first batch is that of a run without it, and no mesh changes anything
    train(tmp_path / "off", dynamic_sampling=False, max_steps=1)
    train(tmp_path / "mesh", devices=4, max_steps=1)
    whole, off, mesh = (completions(tmp_path / name, 0) for name in ("whole", "off", "mesh"))
    assert [row["reply"] for row in off] == [row["reply"] for row in whole[: N * G]]
    for x, y in zip(whole, mesh, strict=True):
        assert (x["id"], x["reply"], x["advantage"]) == (y["id"], y["reply"], y["advantage"])

    # a resumed run goes on behind the questions of the further batches
    real, calls = grpo._update, []

    def stopped(*args):
        calls.append(1)
        if len(calls) == 3:
            raise Stopped
        return real(*args)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(grpo, "_update", stopped)
        train(tmp_path / "resumed")
    assert exact(train(tmp_path / "resumed")) == exact(metrics)
    assert completions(tmp_path / "resumed", 2) == completions(tmp_path / "whole", 2)


@pytest.mark.slow
def test_rewards_of_pictures_are_sampled_on_for_written_down_and_resumed(train, tmp_path):
    names = (f"{FILE}:starts_with_a", f"{FILE}:length")
    changes = {"reward_funcs": names, "image_reward_funcs": names[1:], "max_steps": 2}
    metrics = train(tmp_path / "whole", **changes)
    for step, m in enumerate(metrics):
        written = completions(tmp_path / "whole", step)
        groups = [written[i : i + G] for i in range(0, len(written), G)]
        differ = [any(len({row[n] for row in g}) > 1 for n in ("starts_with_a", "length"))
                  for g in groups]  # fmt: skip
        assert m["dynamic_sampling/kept_groups"] == min(sum(differ), N)
        assert m["frac_reward_zero_std"] == pytest.approx(1 - np.mean(differ))
        for group in groups:
            if group[0]["advantage"] is None:
                continue
            for name, reward in (("advantage", "starts_with_a"), ("image_advantage", "length")):
                given, rewards = (np.array([row[x] for row in group]) for x in (name, reward))
                centred = rewards - rewards.mean()
                std = rewards.std(ddof=1)
                expected = centred / (std + 1e-4) if std > 1e-6 else 0 * centred
                np.testing.assert_allclose(given, expected, atol=1e-3)
    train(tmp_path / "resumed", **changes | {"max_steps": 1})
    assert exact(train(tmp_path / "resumed", **changes)) == exact(metrics)
    assert completions(tmp_path / "resumed", 1) == completions(tmp_path / "whole", 1)


@pytest.mark.slow
def test_parts_are_sampled_on_for_on_any_mesh_and_resumed(train, tmp_path):
    names = (f"{FILE}:halves",)
    changes = {"reward_funcs": names, "process_reward_funcs": names, "max_steps": 2}
    metrics = train(tmp_path / "whole", **changes)
    assert all(m["grad_norm"] > 0 for m in metrics)
    for step in range(2):
        written = completions(tmp_path / "whole", step)
        assert {row["advantage"] for row in written} <= {0.0, None}
        trained = 0
        for group in (written[i : i + G] for i in range(0, len(written), G)):
            parts = [row["parts"]["halves"] for row in group]
            read = ["".join(part["text"] for part in row) for row in parts]
            assert read == [row["reply"] for row in group]
            given, rewards = (
                np.array([[x[name] for x in row] for row in parts], float)
                for name in ("advantage", "reward")
            )
            if not np.isnan(given).any():  # of a group that was left out
                trained += 1
                centred = rewards - rewards.mean(axis=0)
                expected = centred / (np.sqrt((centred**2).sum() / (centred.size - 1)) + 1e-4)
                np.testing.assert_allclose(given, expected, atol=1e-3)
        assert trained == N
    train(tmp_path / "mesh", devices=4, **changes)
    assert completions(tmp_path / "mesh", 1) == completions(tmp_path / "whole", 1)
    train(tmp_path / "resumed", **changes | {"max_steps": 1})
    assert exact(train(tmp_path / "resumed", **changes)) == exact(metrics)


@pytest.mark.slow
def test_a_number_is_one_part_and_trains_as_the_reward_of_a_whole_chain(train, tmp_path):
    """Both have the same mean and std, so the update is the same."""
    names = (f"{FILE}:starts_with_a",)
    whole = train(tmp_path / "whole", max_steps=2, dynamic_sampling=False)
    parts = train(
        tmp_path / "parts", max_steps=2, dynamic_sampling=False, process_reward_funcs=names
    )
    assert whole[1]["grad_norm"] > 0
    for x, y in zip(whole, parts, strict=True):
        for name in ("loss", "grad_norm", "reward", "reward_std", "frac_micro_batches/skipped"):
            assert y[name] == pytest.approx(x[name], rel=1e-4, abs=1e-6)
    assert (
        completions(tmp_path / "whole", 1)[0]["reply"]
        == completions(tmp_path / "parts", 1)[0]["reply"]
    )
