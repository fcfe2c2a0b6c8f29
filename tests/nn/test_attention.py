import jax
import jax.numpy as jnp
import numpy as np

from mmcot_jax.nn.attention import attend, causal


def test_a_query_sees_its_own_slot_and_real_ones_before_it():
    # [pad a b c]
    rows = causal(jnp.array([[False, True, True, True]]), 0, 4)[0].astype(int)
    assert rows.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 1]]


def test_queries_may_begin_at_a_later_slot():
    rows = causal(jnp.array([[False, True, True, True, True]]), 2, 2)[0].astype(int)
    assert rows.tolist() == [[0, 1, 1, 0, 0], [0, 1, 1, 1, 0]]


def random(*shape):
    return jnp.asarray(np.random.default_rng(len(shape) + shape[1]).normal(size=shape), jnp.float32)


def test_it_is_the_softmax_of_scaled_products():
    # scores 2 / sqrt(4) = 1 and 0: weights e / (e + 1) and 1 / (e + 1)
    q = jnp.array([2.0, 0, 0, 0]).reshape(1, 1, 1, 4)
    k = jnp.array([[1.0, 0, 0, 0], [0, 1, 0, 0]]).reshape(1, 1, 2, 4)
    v = jnp.array([[1.0, 0, 0, 0], [0, 1, 0, 0]]).reshape(1, 1, 2, 4)
    y = attend(q, k, v, jnp.ones((1, 1, 2), bool))
    np.testing.assert_allclose(y.ravel(), [np.e / (np.e + 1), 1 / (np.e + 1), 0, 0], rtol=1e-6)


def test_grouped_heads_are_repeated_heads():
    q, k, v = random(2, 5, 6, 4), random(2, 2, 7, 4), random(2, 2, 7, 4)
    mask = causal(jnp.ones((2, 7), bool), 2, 5)
    repeated = attend(q, jnp.repeat(k, 3, axis=1), jnp.repeat(v, 3, axis=1), mask)
    np.testing.assert_allclose(attend(q, k, v, mask), repeated, atol=1e-6)


def test_what_is_masked_is_not_read():
    q, k, v = random(1, 2, 1, 4), random(1, 1, 3, 4), random(1, 1, 3, 4)
    mask = jnp.array([[[True, True, False], [True, True, False]]])
    other = attend(q, k.at[:, :, 2].set(1e3), v.at[:, :, 2].set(1e3), mask)
    np.testing.assert_array_equal(attend(q, k, v, mask), other)


def test_a_query_that_sees_nothing_is_finite_and_so_is_its_gradient():
    q, k, v = random(1, 2, 1, 4), random(1, 1, 2, 4), random(1, 1, 2, 4)
    mask = jnp.array([[[False, False], [True, False]]])
    y = attend(q, k, v, mask)
    np.testing.assert_allclose(y[0, 0], v[0].mean(axis=1), rtol=1e-5)
    gradients = jax.grad(lambda *x: attend(*x, mask).sum(), (0, 1, 2))(q, k, v)
    assert all(np.isfinite(np.asarray(g)).all() for g in gradients)


def test_large_scores_do_not_overflow():
    q, k, v = 1e4 * random(1, 3, 1, 4), 1e4 * random(1, 1, 3, 4), random(1, 1, 3, 4)
    assert np.isfinite(np.asarray(attend(q, k, v, jnp.ones((1, 3, 3), bool)))).all()
