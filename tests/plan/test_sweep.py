"""The sweep: its tries, its choice, and flags that a run accepts. The estimates are made up."""

import shlex

import jax
import pytest

from mmcot_jax import config, stages
from mmcot_jax.plan import report, sweep
from mmcot_jax.plan.chips import CHIPS, GIB, Bound
from mmcot_jax.plan.measure import Estimate

CHANGES = ["eval.batch_size=64", "grpo.prompts_per_step=16"]


@pytest.fixture
def slice_():
    return report.Slice("v5e:2x4", jax.devices(), CHIPS["v5e"], 1)


@pytest.fixture
def tried(monkeypatch):
    """Programs need 64 GiB for a whole batch, over the tensor axis; longer axes take longer."""
    seen = []

    def estimates(c, slice_, names):
        (program,) = names
        mesh, rollout = stages.make_meshes(c, slice_.devices)
        stages.check_batches(c, mesh, rollout)
        group, key, whole, cut = {
            "sft_step": ("sft", "gradient_accumulation_steps", 16, mesh),
            "grpo_step": ("grpo", "gradient_accumulation_steps", 128, mesh),
            "sample": ("grpo", "rollout_micro_batches", 16, rollout),
            "eval_sample": ("eval", "batch_size", 64, rollout),
        }[program]
        value = c[group][key]
        share = value / whole if key == "batch_size" else 1 / value
        seen.append((program, cut.shape["tensor"], value))
        peak, budget = share * 8 * GIB * 8 / cut.shape["tensor"], 15.75 * GIB
        seconds = float(cut.shape["tensor"])
        yield Estimate(
            program, tuple(cut.shape.values()), peak, budget, max(peak - budget, 0.0), 1.0, None,
            0.0, Bound(seconds, 0.0, None), 0.0,
        )  # fmt: skip

    monkeypatch.setattr(report, "estimates", estimates)
    return seen


def test_the_largest_micro_batch_that_fits_on_the_fastest_mesh_is_the_best(slice_, tried, capsys):
    c = config.load("configs/m2t.py:tiny", CHANGES)
    assert sweep.sweep(c, slice_, ("grpo_step", "sample")) == 0
    # 64 GiB on one, 32 on two devices of the tensor axis: halved until they fit in 14.2 GiB
    assert tried[:4] == [("grpo_step", 1, n) for n in (1, 2, 4, 8)]
    assert ("grpo_step", 2, 4) in tried and ("grpo_step", 4, 2) in tried
    assert 8 not in {tensor for _, tensor, _ in tried}  # 4 heads
    best, seconds = capsys.readouterr().out.splitlines()[-2:]
    found = shlex.split(best.removeprefix("best: "))
    repeated = config.load("configs/m2t.py:tiny", CHANGES + [f[len("--config.") :] for f in found])
    assert dict(repeated.mesh) == {"data": 1, "fsdp": -1, "tensor": 1}
    assert dict(repeated.rollout_mesh) == {"data": -1, "fsdp": 1, "tensor": 2}
    grpo = repeated.grpo
    assert grpo.gradient_accumulation_steps == 8 and grpo.rollout_micro_batches == 4
    assert seconds == "its programs take at least 3 s by the chip's public rates"


def test_if_nothing_fits_the_sweep_returns_1(slice_, tried, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "TENSOR", (1, 2))
    c = config.load("configs/m2t.py:tiny", [*CHANGES, "sft.batch_size=8"])
    assert sweep.sweep(c, slice_, ("sft_step",)) == 1
    assert "nothing fits v5e:2x4: no tensor axis" in capsys.readouterr().out


def test_programs_that_are_not_swept_are_refused(slice_, tried):
    c = config.load("configs/m2t.py:tiny", CHANGES)
    with pytest.raises(ValueError, match="no batch of prepare is swept; those of grpo_step"):
        sweep.sweep(c, slice_, ("prepare", "grpo_step"))


def test_a_setting_of_both_is_one_for_training_and_sampling(slice_, monkeypatch, capsys):
    """As the base's dtype. With the second a step is faster, although its training is slower."""

    def estimates(c, slice_, names):
        (program,) = names
        second = c.seed == 2
        seconds = {"grpo_step": 2.0 if second else 1.0, "sample": 1.0 if second else 9.0}[program]
        bound = Bound(seconds, 0.0, None)
        yield Estimate(program, (1, 1, 1), 1.0, GIB, 0.0, 1.0, None, 0.0, bound, 0.0, stage="grpo")

    monkeypatch.setattr(report, "estimates", estimates)
    monkeypatch.setattr(sweep, "_base_dtypes", lambda c: [{"seed": 1}, {"seed": 2}])
    c = config.load("configs/m2t.py:tiny", CHANGES)
    assert sweep.sweep(c, slice_, ("grpo_step", "sample")) == 0
    best, seconds = capsys.readouterr().out.splitlines()[-2:]
    assert "--config.seed=2" in shlex.split(best)
    assert seconds == "its programs take at least 3 s by the chip's public rates"
