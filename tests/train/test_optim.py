"""Options of the optimizer that are switched off; its schedules are in test_step.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax import rules
from mmcot_jax.options.choices import OPTIMIZERS, SCHEDULES
from mmcot_jax.train import optim
from mmcot_jax.train.optim import DECAYS, optimizer, schedule, warmup_steps
from mmcot_jax.train.step import start, update

SETTINGS = {
    "optim": "adamw",
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


def test_the_schedules_and_optimizers_are_those_of_the_options():
    assert tuple(DECAYS) == SCHEDULES
    assert tuple(optim.OPTIMIZERS) == OPTIMIZERS


def test_every_array_of_muons_state_has_a_rule_for_its_axes():
    params = {
        "layers": {"attention": {"q": {"kernel": jnp.ones((2, 4, 8))}}},
        "embed": {"embedding": jnp.ones((16, 4))},
    }
    state = optimizer(SETTINGS | {"optim": "muon"}, steps=10).init(params)
    found = {
        "/".join(str(getattr(k, "key", getattr(k, "name", k))) for k in path): x.shape
        for path, x in jax.tree_util.tree_leaves_with_path(state)
    }
    letters = {path: rules.letters(path, shape) for path, shape in found.items()}
    momentum = [x for path, x in letters.items() if path.endswith("mu/layers/attention/q/kernel")]
    assert momentum == ["ldh"] and len(found) > 4


def test_muon_moves_the_layers_matrices_alike_in_all_directions_and_the_rest_as_adamw():
    random = np.random.default_rng(0)
    shapes = {
        "layers": {"up": {"kernel": (2, 8, 24)}, "down": {"a": (2, 24, 4)}},
        "q_norm": {"scale": (2, 4, 8)},
        "embed": {"embedding": (16, 8)},
        "head": {"kernel": (8, 16)},
    }
    is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
    draw = lambda shape: jnp.asarray(random.normal(size=shape), jnp.float32)  # noqa: E731
    params = jax.tree.map(draw, shapes, is_leaf=is_shape)
    gradients = jax.tree.map(draw, shapes, is_leaf=is_shape)
    # the second layer has a far smaller gradient: each layer is a matrix of its own
    gradients["layers"]["up"]["kernel"] *= jnp.array([1.0, 1e-3])[:, None, None]

    def moves(name):
        tx = optimizer(SETTINGS | {"optim": name, "weight_decay": 0.1}, steps=10)
        return tx.update(gradients, tx.init(params), params)[0]

    mine, adam = moves("muon"), moves("adamw")
    for name in ("q_norm", "embed", "head"):
        jax.tree.map(np.testing.assert_array_equal, mine[name], adam[name])
    for matrices, moved in zip(
        jax.tree.leaves(params["layers"]), jax.tree.leaves(mine["layers"]), strict=True
    ):
        for weight, move in zip(matrices, moved, strict=True):
            sizes = np.linalg.svd(move + 0.1 * weight, compute_uv=False)
            # 0.2 as AdamW's, times the root of the longer side; Newton-Schulz is that rough
            expected = 0.2 * np.sqrt(max(weight.shape))
            assert (sizes > 0.6 * expected).all() and (sizes < 1.3 * expected).all()


@pytest.mark.parametrize(("given", "expected"), [(0, 0), (3, 3), (30, 30), (0.25, 3), (0.1, 1)])
def test_a_warm_up_below_1_is_a_share_of_the_steps(given, expected):
    assert warmup_steps({"warmup_steps": given}, steps=10) == expected


def test_a_warm_up_longer_than_the_run_is_cut_by_its_end():
    c = SETTINGS | {"lr_scheduler_type": "linear", "warmup_steps": 8}
    np.testing.assert_allclose([schedule(c, 4)(i) for i in range(4)], [0, 0.125, 0.25, 0.375])
