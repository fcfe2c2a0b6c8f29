"""The GRPO loop on a tiny Chameleon: a reward rises, failures do not stop it, a resume is exact."""

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
from mmcot_jax.train import checks, grpo, policy
from mmcot_jax.train import step as steps

FILE = pathlib.Path(__file__).parents[1] / "rewards" / "some_rewards.py"
SHARE = f"{FILE}:share_of_a"
IMAGE = np.zeros((4, 4, 3), np.uint8)
EXAMPLES = [Example(f"q{i}", (IMAGE, "abcdefgh"[: 3 + i % 3]), "a") for i in range(8)]
SMALL = dict(
    reward_funcs=(SHARE,), reward_weights=(), prompts_per_step=8, num_generations=4, max_steps=3,
    save_steps=1, log_completions_steps=1, length_multiple=4, logps_chunk=8, reward_processes=1,
    lr_scheduler_type="constant",
)  # fmt: skip
METRICS = {
    "reward", "reward_std", "frac_reward_zero_std", "rewards/share_of_a/mean",
    "rewards/share_of_a/std", "frac_groups/all_right", "frac_groups/all_wrong", "loss", "grad_norm",
    "learning_rate", "num_tokens", "step_time", "time/rollout", "time/reward", "time/train",
    "tokens_per_second/rollout", "tokens_per_second/train", "entropy", "entropy/text",
    "entropy/image", "completions/mean_length", "completions/min_length", "completions/max_length",
    "completions/mean_terminated_length", "completions/clipped_ratio", "image/count",
    "completions/decoded_per_token", "frac_micro_batches/skipped",
    "image/valid_rate", "sampling/sampling_logp_difference/mean",
    "sampling/sampling_logp_difference/max", "clip_ratio/low_mean", "clip_ratio/high_mean",
    "clip_ratio/region_mean", "failures/share_of_a", "time/reward/share_of_a",
}  # fmt: skip


@pytest.fixture
def train(chameleon, tmp_path):
    """Trains in a folder: (lines of metrics.jsonl, variables)."""
    one = np.array(jax.devices()[:1]).reshape(1, 1, 1)

    def run(workdir=tmp_path, assess=None, devices=one, rollout=None, keep=None, **changes):
        mesh = jax.sharding.Mesh(devices, rules.AXES)
        rollout_mesh = meshes.remesh(mesh, *rollout) if rollout else mesh
        c = base.grpo(1e-2, 12) | SMALL | changes
        checks.check_grpo(c, mesh, rollout_mesh, ("accuracy",))
        rows = data.Rendered(EXAMPLES, chameleon.backbone.renderer.prompt)
        checks.check_room(rows, chameleon.backbone.context, c["max_completion_length"])
        variables = jax.tree.map(jnp.copy, chameleon.variables)  # they are given away
        variables = jax.device_put(variables, meshes.shardings(variables, mesh))
        variables, _ = grpo.run(
            chameleon.backbone, variables, lambda: grpo.Questions(rows, assess), c, mesh=mesh,
            key=jax.random.key(7), seed=1, workdir=workdir, rollout_keep=keep,
            rollout_mesh=rollout_mesh,
        )  # fmt: skip
        return lines(workdir / "metrics.jsonl"), variables

    return run


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def exact(metrics):
    """What must repeat itself: all but times."""
    timed = ("time/", "tokens_per_second/", "step_time")
    return [{k: v for k, v in m.items() if not k.startswith(timed)} for m in metrics]


def test_the_reward_rises(train):
    metrics, _ = train(max_steps=5, learning_rate=2e-2)
    rewards = [m["reward"] for m in metrics]
    assert rewards[0] < 0.2 and rewards[-1] > 0.6


def test_a_step_logs_what_trl_logs_and_more_and_keeps_its_chains(train, tmp_path):
    metrics, _ = train(max_steps=2)
    assert [(m["stage"], m["step"]) for m in metrics] == [("grpo", 0), ("grpo", 1)]
    assert set(metrics[0]) >= METRICS
    assert metrics[0]["sampling/sampling_logp_difference/max"] < 1e-5
    rows = lines(tmp_path / "completions" / "grpo_step_00001.jsonl")
    assert len(rows) == 8 * 4 and [r["id"] for r in rows[:4]] == [rows[0]["id"]] * 4
    for row in rows:
        words = row["reply"].replace("<image>", "")
        assert row["share_of_a"] == pytest.approx(words.count("a") / max(len(words), 1))
        assert len(row["pictures"]) <= row["reply"].count("<image>")
        for name in row["pictures"]:
            assert (tmp_path / "completions" / name).exists()
    group = [r["advantage"] for r in rows[:4]]
    assert sum(group) == pytest.approx(0, abs=1e-5)
    assert not (tmp_path / "failures").exists()


def test_what_fails_is_counted_logged_with_its_row_and_the_run_goes_on(train, tmp_path):
    names = tuple(f"{FILE}:{name}" for name in ("share_of_a", "raises", "says_nan", "says_words"))
    metrics, _ = train(reward_funcs=names, max_steps=2)
    rows = lines(tmp_path / "completions" / "grpo_step_00000.jsonl")
    failing = ["h" in row["reply"] for row in rows]
    assert 0 < sum(failing) < 32
    for name in ("raises", "says_nan", "says_words"):
        assert metrics[0][f"failures/{name}"] == sum(failing)
        assert [row[name] is None for row in rows] == failing
    assert metrics[0]["failures/share_of_a"] == 0
    noted = lines(tmp_path / "failures" / "grpo_step_00000.jsonl")
    assert len(noted) == 3 * sum(failing)
    assert all(f["id"] == rows[f["row"]]["id"] and f["message"] for f in noted)
    assert [m["step"] for m in metrics] == [0, 1]


@pytest.mark.slow
def test_a_reward_that_hangs_and_one_that_dies_do_not_stop_the_run(train):
    names = tuple(f"{FILE}:{name}" for name in ("share_of_a", "hangs", "dies"))
    changes = {"reward_timeout": 1.0, "reward_processes": 2, "preflight": False, "max_steps": 1}
    metrics, _ = train(reward_funcs=names, **changes)
    for m in metrics:
        assert 0 < m["failures/hangs"] <= 32 and 0 < m["failures/dies"] <= 32
        assert m["reward"] is not None and m["grad_norm"] > 0


def test_a_reward_that_never_works_stops_the_run_and_is_named(train):
    names = (SHARE, f"{FILE}:always_raises")
    with pytest.raises(ValueError, match=r"always_raises' failed on every sample of 3 steps"):
        train(reward_funcs=names, max_steps=10, preflight=False)


def test_rewards_written_for_trl_train_unchanged(train, tmp_path):
    names = tuple(f"{FILE}:{name}" for name in ("trl_length", "trl_async", "trl_strict"))
    metrics, _ = train(reward_funcs=names, max_steps=1)
    assert metrics[0]["mean_prompt"] > 0  # of log_metric
    row = lines(tmp_path / "completions" / "grpo_step_00000.jsonl")[0]
    assert row["first"] == row["reply"][:1]  # of log_extra
    assert row["trl_strict"] == row["tokens"]  # len(completion_ids) at global_step 0


def test_a_second_iteration_is_off_policy_and_beta_brings_a_divergence(train, monkeypatch):
    real, updates = steps.grpo_step, []

    def seen(*args):
        state, metrics = real(*args)
        updates.append({name: float(value) for name, value in metrics.items()})
        return state, metrics

    monkeypatch.setattr(steps, "grpo_step", seen)
    metrics, _ = train(
        num_iterations=2, beta=0.1, max_steps=2, learning_rate=1e-2, lr_scheduler_type="linear"
    )
    assert metrics[0]["sampling/sampling_logp_difference/max"] < 1e-5
    assert metrics[1]["kl"] > 0 and updates[1]["kl"] > updates[0]["kl"]
    for number, step in enumerate(metrics):  # means over the updates of the step
        first, second = updates[2 * number : 2 * number + 2]
        for name in first:
            assert step[name] == pytest.approx((first[name] + second[name]) / 2)
    # the rates of the four updates are 1, .75, .5 and .25 hundredths
    assert [m["learning_rate"] for m in metrics] == pytest.approx([0.00875, 0.00375])


def test_at_beta_0_the_divergence_is_computed_when_it_is_asked_for(train):
    metrics, _ = train(kl_steps=2, max_steps=3)
    assert ["kl" in m for m in metrics] == [True, False, True]


def test_a_rollout_reshards_the_trained_weights_once(train, monkeypatch):
    """For sampling and for what rewards read; the second one is that of the preflight."""
    calls, real = [], policy.Policy.for_sampling
    count = lambda *given: calls.append(given) or real(*given)  # noqa: E731
    monkeypatch.setattr(policy.Policy, "for_sampling", count)
    train(max_steps=1)
    assert len(calls) == 2


@pytest.mark.parametrize("draws", ["chameleon", "seed_llama", ""])
def test_a_reward_that_needs_images_gets_what_the_backbone_computes(draws, request, tmp_path):
    """As TRL's `completion_images`, it names no fields; none of these backbones has CLIP."""
    backbone, variables = request.getfixturevalue(draws or "qwen")
    examples = [Example(f"q{i}", ("abc"[i % 3],), "a") for i in range(8)]
    rewards = f"{FILE}:length", f"{FILE}:decoded"
    c = base.grpo(1e-3, 24) | SMALL | {"max_steps": 1, "reward_funcs": rewards}
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), rules.AXES)
    variables = meshes.replicate(jax.tree.map(np.copy, variables), mesh)
    questions = grpo.Questions(data.Rendered(examples, backbone.renderer.prompt))
    grpo.run(
        backbone, variables, lambda: questions, c, mesh=mesh, key=jax.random.key(0), seed=0,
        workdir=tmp_path,
    )  # fmt: skip
    rows = lines(tmp_path / "completions" / "grpo_step_00000.jsonl")
    assert len(rows) == 32 and bool(sum(row["decoded"] for row in rows)) == bool(draws)
    assert all(row["decoded"] <= row["reply"].count("<image>") for row in rows)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("phase", ["sampling", "scoring", "update"])
def test_a_run_stopped_in_any_phase_resumes_and_repeats_itself_exactly(
    train, tmp_path, monkeypatch, phase
):
    expected, variables = train(tmp_path / "whole", max_steps=4)
    place = {
        "sampling": (grpo, "_generate"),
        "scoring": (grpo, "stack"),
        "update": (grpo, "_update"),
    }[phase]
    real, calls = getattr(*place), []

    def killed(*args, **kwargs):
        calls.append(phase)
        result = real(*args, **kwargs)
        if len(calls) == 4:  # the preflight samples and scores once too
            raise Killed
        return result

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(*place, killed)
        train(tmp_path / "resumed", max_steps=4)
    metrics, resumed = train(tmp_path / "resumed", max_steps=4)
    assert exact(metrics) == exact(expected)
    jax.tree.map(np.testing.assert_array_equal, resumed, variables)
    for name in ("grpo_step_00002.jsonl", "grpo_step_00003.jsonl"):
        both = [(tmp_path / w / "completions" / name).read_text() for w in ("whole", "resumed")]
        assert both[0] == both[1]


def test_the_best_by_an_evaluation_is_kept_and_taken(train, tmp_path):
    worth = iter([0.1, 0.9, 0.5])
    seen = []

    def assess(variables):
        seen.append(jax.tree.map(np.asarray, variables["lora"]))
        return {"accuracy": next(worth)}

    metrics, variables = train(
        assess=assess, eval_steps=1, max_steps=3, load_best_model_at_end=True
    )
    assert [m["eval_accuracy"] for m in metrics] == [0.1, 0.9, 0.5]
    assert [p.name for p in (tmp_path / "checkpoints/grpo_best").iterdir()] == ["2"]
    jax.tree.map(np.testing.assert_array_equal, variables["lora"], seen[1])


def test_groups_that_all_agree_are_told_before_the_first_step(train, tmp_path, capfd):
    found = r"reward join failed on 32 of 32 samples, first on question '.*', reply 0: TypeError"
    with pytest.raises(ValueError, match=found):
        train(reward_funcs=("os.path:join",))  # fails on all
    assert not (tmp_path / "metrics.jsonl").read_text()


def test_the_preflight_says_what_there_is_to_learn(train, capfd):
    train(max_steps=1)
    said = capfd.readouterr().err
    assert "8 prompts x 4 generations = 32 sequences = 32 per device x 1 devices x 1" in said
    for part in ("groups sampled: 0 all right", "something to learn from", "cut by the budget"):
        assert part in said
    assert "rewards: share_of_a 0." in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_generations": 1}, "grpo.num_generations is 1; give a whole number of 2 or more"),
        ({"prompts_per_step": 6}, "grpo.prompts_per_step is 6, no multiple of 1 .* x 8"),
        ({"gradient_accumulation_steps": 3}, r"\(8 x 4\) is 32, no multiple of 3 .* x 8"),
        ({"num_iterations": 0}, "num_iterations is 0"),
        ({"max_num_gen_batches": 0}, "max_num_gen_batches is 0; give a whole number of 1 or more"),
        (
            {"dynamic_sampling": True, "max_num_gen_batches": 1},
            "dynamic_sampling is true and grpo.max_num_gen_batches 1: no step would sample",
        ),
        ({"reward_weights": (1.0, 2.0)}, r"2 reward_weights \(1.0, 2.0\) for 1 reward_funcs"),
        ({"loss_type": "gpro"}, "did you mean 'grpo'"),
        ({"loss_type": "cispo"}, "epsilon_high is 0.28; cispo caps the ratio itself there"),
        ({"scale_rewards": "grp"}, "grpo.scale_rewards is 'grp', did you mean 'group'"),
        ({"multi_objective_aggregation": "sum"}, "grpo.multi_objective_aggregation is 'sum'"),
        ({"lr_scheduler_type": "cosin"}, "grpo.lr_scheduler_type is 'cosin', did you mean 'cosi"),
        ({"what": "lroa"}, "grpo.what is 'lroa', did you mean 'lora'"),
        ({"kl_steps": 1, "beta": 0.1}, "kl_steps is 1 and beta is 0.1"),
        ({"load_best_model_at_end": True}, "eval_steps is 0"),
        ({"max_completion_length": 60}, r"'q\d' has a prompt of \d+ tokens; .* leaves 4"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(train, changes, message):
    with pytest.raises(ValueError, match=message):
        train(devices=np.array(jax.devices()).reshape(8, 1, 1), **changes)


def test_a_metric_the_evaluation_does_not_give_is_refused():
    c = base.grpo(1e-3, 8, metric_for_best_model="pass@3")
    with pytest.raises(ValueError, match="'pass@3'; the evaluation gives accuracy"):
        checks.check_grpo(c, meshes.make(data=-1), meshes.make(data=-1), ("accuracy",))


@pytest.mark.slow
def test_chains_are_sampled_on_another_cut_of_the_devices_and_are_the_same(train, tmp_path):
    eight = np.array(jax.devices()).reshape(1, 8, 1)

    def run(name, **layout):
        (tmp_path / name).mkdir()
        metrics, variables = train(tmp_path / name, devices=eight, max_steps=2, **layout)
        written = [
            [(row["reply"], row["advantage"]) for row in lines(path)]
            for path in sorted((tmp_path / name / "completions").glob("*.jsonl"))
        ]
        return metrics, written, variables

    metrics, written, variables = run("same")
    assert len(written) == 2 and len({reply for reply, _ in written[1]}) > 8
    for name, how in (
        ("both", {"keep": True}),
        ("moved", {"keep": False}),
        ("parts", {"rollout_micro_batches": 2}),
    ):
        other = run(name, rollout=(4, 1, 2), **how)
        assert [[r for r, _ in step] for step in other[1]] == [[r for r, _ in s] for s in written]
        for a, b in zip(other[0], metrics, strict=True):
            assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        for a, b in zip(*map(jax.tree.leaves, (other[2], variables)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
            assert a.sharding == b.sharding
