"""Options of the optimizer that are switched off; its schedules are in test_step.py."""

import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax.options.table import SCHEDULES
from mmcot_jax.train.optim import DECAYS, optimizer, schedule, warmup_steps
from mmcot_jax.train.step import start, update

SETTINGS = {
    "learning_rate": 1.0,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
}


def updates(gradients, **changes):
    """The weight, 0 at first, and the norms of the gradients, after these updates."""
    tx = optimizer(SETTINGS | changes, steps=10)
    state, norms = start({"w": jnp.zeros(1)}, tx), []
    for gradient in gradients:
        state, norm = update(state, {"w": jnp.array([gradient])}, tx)
        norms.append(float(norm))
    return float(state.trained["w"][0]), norms


@pytest.mark.parametrize("off", [0, 0.0, None])
def test_without_a_norm_nothing_is_clipped_and_the_weights_learn(off):
    # Adam divides sizes out of the first step; the second tells 1000 from a clipped 1
    first, norms = updates([1000.0], max_grad_norm=off)
    assert first == pytest.approx(-1.0, rel=1e-4) and norms == [1000.0]
    # m = 100 * 0.9 + 0.01, over 0.19; v = 1000 * 0.999 + 0.00001, over 0.001999
    second = ((90 + 0.01) / 0.19) / np.sqrt((999 + 0.00001) / 0.001999)
    found, norms = updates([1000.0, 0.1], max_grad_norm=off)
    assert found == pytest.approx(-1 - second, rel=1e-4)
    assert norms == pytest.approx([1000.0, 0.1])
    assert found != pytest.approx(updates([1000.0, 0.1])[0], rel=1e-3)


@pytest.mark.parametrize("off", [0, None, 1.0, 1e-30])
@pytest.mark.parametrize("epsilon", [1e-8, 1e-30])
def test_a_gradient_of_zeros_is_never_nan(off, epsilon):
    given = {"max_grad_norm": off, "adam_epsilon": epsilon}
    assert updates([0.0, 0.0], **given) == (0.0, [0.0, 0.0])
    assert updates([0.0, 0.0], adam_beta1=0.0, adam_beta2=0.0, **given) == (0.0, [0.0, 0.0])
    weight, _ = updates([0.0, 1.0, 0.0], **given)
    assert np.isfinite(weight)


def test_the_schedules_are_those_of_the_options():
    assert tuple(DECAYS) == SCHEDULES


@pytest.mark.parametrize(("given", "expected"), [(0, 0), (3, 3), (30, 30), (0.25, 3), (0.1, 1)])
def test_a_warm_up_below_1_is_a_share_of_the_steps(given, expected):
    assert warmup_steps({"warmup_steps": given}, steps=10) == expected


def test_a_warm_up_longer_than_the_run_is_cut_by_its_end():
    c = SETTINGS | {"lr_scheduler_type": "linear", "warmup_steps": 8}
    np.testing.assert_allclose([schedule(c, 4)(i) for i in range(4)], [0, 0.125, 0.25, 0.375])
