import jax.numpy as jnp
import numpy as np

from mmcot_jax.nn.rope import angles, rotate


def test_angles_are_positions_times_falling_frequencies():
    out = angles(jnp.array([[[0, 1, 5]]]), channels=4, theta=100.0)
    np.testing.assert_allclose(out, [[[0, 0], [1, 0.1], [5, 0.5]]], rtol=1e-6)


def test_sections_take_their_frequencies_from_their_own_axis():
    positions = jnp.array([1, 10, 100]).reshape(3, 1, 1)
    out = angles(positions, channels=8, theta=1.0, sections=(1, 1, 2))
    np.testing.assert_allclose(out, [[[1, 10, 100, 100]]])


def test_equal_axes_are_one_axis():
    one = jnp.arange(6).reshape(1, 2, 3)
    three = jnp.broadcast_to(one, (3, 2, 3))
    np.testing.assert_array_equal(angles(three, 8, 1e4, (1, 2, 1)), angles(one, 8, 1e4))


def test_a_quarter_turn_swaps_the_halves():
    x = jnp.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 4)
    angle = jnp.array([np.pi / 2, 0.0]).reshape(1, 1, 2)
    np.testing.assert_allclose(rotate(x, angle).ravel(), [-3, 2, 1, 4], atol=1e-6)


def test_products_depend_on_the_distance_alone():
    random = np.random.default_rng(0)
    q, k = jnp.asarray(random.normal(size=(2, 1, 1, 1, 8)), jnp.float32)

    def product(at, distance):
        def turned(x, position):
            return rotate(x, angles(jnp.full((1, 1, 1), position), 8, 1e4))

        return float((turned(q, at) * turned(k, at + distance)).sum())

    assert abs(product(3, 4) - product(300, 4)) < 1e-4
    assert abs(product(3, 4) - product(3, 5)) > 1e-2


def test_positions_past_what_bfloat16_counts_stay_apart():
    near, far = (angles(jnp.full((1, 1, 1), p), 2, 1e4) for p in (256, 257))
    x = jnp.ones((1, 1, 1, 2), jnp.bfloat16)
    assert (rotate(x, near) != rotate(x, far)).all()
    assert rotate(x, near).dtype == jnp.bfloat16
