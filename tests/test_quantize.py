import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax import quantize


def test_a_weight_is_rounded_to_nearest_with_a_scale_per_output_channel():
    w = jax.random.normal(jax.random.key(0), (3, 64, 8)) * jnp.arange(1.0, 9.0)
    made = quantize.quantize(w)
    assert (made.qvalue.shape, made.qvalue.dtype) == ((3, 64, 8), jnp.int8)
    assert (made.scale.shape, made.scale.dtype) == ((3, 1, 8), jnp.float32)
    np.testing.assert_allclose(made.scale[:, 0], np.abs(w).max(1) / 127.5, rtol=1e-6)
    error = np.abs(quantize.dequantize(made) - w)
    assert (error <= made.scale * (0.5 + 1e-4)).all()


def test_a_channel_of_zeros_stays_zeros():
    made = quantize.quantize(jnp.zeros((4, 2)))
    np.testing.assert_array_equal(quantize.dequantize(made), np.zeros((4, 2)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_product_is_that_of_the_dequantised_weight_within_one_percent_of_the_float_one(dtype):
    x = jax.random.normal(jax.random.key(0), (16, 512)).astype(dtype)
    w = jax.random.normal(jax.random.key(1), (512, 64)) * 0.02
    made = quantize.quantize(w)
    wide = x.astype(jnp.float32)
    y = quantize.dot(x, made, jnp.float32)
    np.testing.assert_allclose(y, wide @ quantize.dequantize(made), rtol=1e-4, atol=1e-5)
    error = jnp.linalg.norm(y - wide @ w) / jnp.linalg.norm(wide @ w)
    assert 0.003 < error < 0.01  # 0.7 %


def test_its_gradient_is_that_of_the_dequantised_weight():
    x = jax.random.normal(jax.random.key(0), (4, 32))
    made = quantize.quantize(jax.random.normal(jax.random.key(1), (32, 8)))
    wanted = jax.grad(lambda x: jnp.sum((x @ quantize.dequantize(made)) ** 2))(x)
    given = jax.grad(lambda x: jnp.sum(quantize.dot(x, made, jnp.float32) ** 2))(x)
    np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("path", "weight"),
    [
        ("layers/attention/q/kernel/qvalue", "layers/attention/q/kernel"),
        ("head/kernel/scale", "head/kernel"),
        ("embed/embedding/scale", "embed/embedding"),
        ("layers/attention_norm/scale", "layers/attention_norm/scale"),
        ("head/kernel", "head/kernel"),
    ],
)
def test_parts_of_a_quantised_weight_have_its_path(path, weight):
    assert quantize.unquantized_path(path) == weight
