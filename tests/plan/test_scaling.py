"""Weak scaling: what grows with the devices, and the printed lines. The estimates are made up."""

import jax
import pytest

from mmcot_jax import config
from mmcot_jax.plan import hlo, report, scaling, topology
from mmcot_jax.plan.chips import CHIPS, GIB, Bound
from mmcot_jax.plan.measure import Estimate


def test_slices_are_a_number_and_a_topology(monkeypatch):
    monkeypatch.setattr(topology, "devices", lambda name, slices: [name] * slices)
    found = scaling.slices("2*v5e:4x4,v5e:16x16")
    assert [(s.name, s.slices, len(s.devices)) for s in found] == [
        ("v5e:4x4", 2, 2), ("v5e:16x16", 1, 1),
    ]  # fmt: skip


def test_batches_and_the_data_axis_grow_with_the_devices():
    c = config.load("configs/m2t.py")
    larger = scaling.scaled(c, 16)
    assert (larger.grpo.prompts_per_step, larger.mesh.data, larger.eval.batch_size) == (
        16 * c.grpo.prompts_per_step, 16, 16 * c.eval.batch_size,
    )  # fmt: skip
    assert larger.grpo.gradient_accumulation_steps == c.grpo.gradient_accumulation_steps
    assert c.mesh.data == 1


def test_a_line_has_the_sums_of_a_steps_programs(monkeypatch, capsys):
    def estimates(c, slice_, names):
        for number, name in enumerate(names, start=1):
            yield Estimate(
                name, (1, 1, 1), number * GIB, 16 * GIB, 0.0, 1.0,
                hlo.CollectiveBytes({"all-gather": 2 * GIB}, 0.5 * GIB, 1), 3 * GIB,
                Bound(float(number), 0.0, None), 0.0, stage="grpo",
            )  # fmt: skip

    monkeypatch.setattr(report, "estimates", estimates)
    c = config.load("configs/m2t.py:tiny", ["eval.batch_size=64"])
    small, large = (report.Slice("v5e:2x2", jax.devices()[:n], CHIPS["v5e"], 1) for n in (4, 8))
    assert scaling.weak_scaling(c, [small, large]) == 0
    lines = capsys.readouterr().out.splitlines()
    # prepare, sample and grpo_step: 1 + 2 + 3 seconds
    assert lines[1].split() == "v5e:2x2 4 8 >= 6 s 3.00 9.0 7.50 1.5".split()
    assert lines[2].split() == "v5e:2x2 8 16 >= 6 s 3.00 9.0 7.50 1.5".split()
    with pytest.raises(ValueError, match="4 devices, no multiple of the 8 of v5e:2x2"):
        scaling.weak_scaling(c, [large, small])
