import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax.sample.law import Sampling, log_law

# probabilities 0.5, 0.3, 0.15, 0.05
LOGITS = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
ALL = jnp.ones(4, bool)


def law(sampling, allowed=ALL, logits=LOGITS):
    return np.exp(np.asarray(log_law(logits, allowed, sampling), np.float64))


def test_without_options_it_is_the_softmax():
    np.testing.assert_allclose(law(Sampling()), [0.5, 0.3, 0.15, 0.05], atol=1e-6)


def test_what_is_not_allowed_gives_its_share_to_the_rest():
    allowed = jnp.array([False, True, True, True])
    np.testing.assert_allclose(law(Sampling(), allowed), [0, 0.6, 0.3, 0.1], atol=1e-6)


def test_temperature_is_a_power_of_the_probabilities():
    squares = np.array([0.25, 0.09, 0.0225, 0.0025])
    np.testing.assert_allclose(law(Sampling(0.5)), squares / squares.sum(), atol=1e-6)


def test_top_k_keeps_the_likeliest_and_all_that_equal_the_last_of_them():
    np.testing.assert_allclose(law(Sampling(top_k=2)), [0.625, 0.375, 0, 0], atol=1e-6)
    ties = jnp.array([1.0, 0.0, 0.0, -1.0])
    assert (law(Sampling(top_k=2), logits=ties) > 0).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.4, 1), (0.6, 2), (0.79, 2), (0.81, 3), (0.96, 4), (1.0, 4)]
)
def test_top_p_keeps_the_least_set_that_reaches_it(top_p, kept):
    assert (law(Sampling(top_p=top_p)) > 0).sum() == kept


def test_truncation_looks_at_what_grammar_and_temperature_left():
    # allowed: 0.3 0.15 0.05; squared and normalised: 0.783 0.196 0.022, so 0.9 keeps two
    allowed = jnp.array([False, True, True, True])
    expected = np.array([0, 0.09, 0.0225, 0]) / 0.1125
    np.testing.assert_allclose(law(Sampling(0.5, top_p=0.9), allowed), expected, atol=1e-6)


def test_what_may_not_be_drawn_is_finite_and_has_no_gradient():
    allowed = jnp.array([True, True, True, False])
    sampling = Sampling(0.7, top_p=0.9, top_k=3)
    assert np.isfinite(np.asarray(log_law(LOGITS, allowed, sampling))).all()
    gradient = jax.grad(lambda x: log_law(x, allowed, sampling)[1])(LOGITS)
    assert np.isfinite(np.asarray(gradient)).all()
    assert gradient[3] == 0


def test_rows_of_bfloat16_logits_give_float32():
    rows = jnp.stack([LOGITS, LOGITS[::-1]])[None].astype(jnp.bfloat16)
    out = log_law(rows, jnp.broadcast_to(ALL, rows.shape), Sampling())
    assert (out.shape, out.dtype) == ((1, 2, 4), jnp.float32)
