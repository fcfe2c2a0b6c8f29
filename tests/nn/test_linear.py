import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax import quantize
from mmcot_jax.nn.linear import HeadNorm, Linear, Lora, RMSNorm

X = jnp.array([[1.0, 2.0, 3.0]])
KERNEL = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
BASE = {"params": {"kernel": KERNEL}}
# x A = [1 + 2 + 3, 1], times B = [6 + 1, 0]
ADAPTER = {"a": jnp.array([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]]), "b": jnp.array([[1.0, 0], [1, 0]])}


def linear(**fields):
    return Linear(2, name="q", **fields)


def test_it_is_a_matrix_product_over_the_last_axis():
    np.testing.assert_array_equal(linear().apply(BASE, X), [[4.0, 5.0]])
    assert linear().apply(BASE, jnp.ones((2, 5, 3))).shape == (2, 5, 2)


def test_a_bias_is_added():
    params = {"params": {"kernel": KERNEL, "bias": jnp.array([10.0, 20.0])}}
    np.testing.assert_array_equal(linear(use_bias=True).apply(params, X), [[14.0, 25.0]])


@pytest.mark.parametrize(("alpha", "delta"), [(2.0, 7.0), (8.0, 28.0)])
def test_an_adapter_is_scaled_by_alpha_over_rank(alpha, delta):
    layer = linear(lora=Lora(rank=2, alpha=alpha))
    np.testing.assert_array_equal(layer.apply(BASE | {"lora": ADAPTER}, X), [[4.0 + delta, 5.0]])


def test_without_adapters_it_is_the_base():
    np.testing.assert_array_equal(linear(lora=Lora()).apply(BASE, X), [[4.0, 5.0]])


def test_only_named_layers_carry_an_adapter():
    assert "lora" in linear(lora=Lora(targets=("q",))).init(rngs(), X)
    assert "lora" not in linear(lora=Lora(targets=("v",))).init(rngs(), X)


def rngs():
    return {"params": jax.random.key(0), "lora": jax.random.key(1)}


def test_a_new_adapter_changes_nothing_and_is_float32():
    layer = linear(lora=Lora(rank=4), dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    variables = layer.init(rngs(), X)
    a, b = variables["lora"]["a"], variables["lora"]["b"]
    assert (a.shape, a.dtype, b.shape, b.dtype) == ((3, 4), jnp.float32, (4, 2), jnp.float32)
    assert not b.any()
    assert 0 < float(jnp.abs(a).max()) <= 3**-0.5  # PEFT's bound, 1 / sqrt(in)
    base = layer.apply({"params": variables["params"]}, X)
    np.testing.assert_array_equal(layer.apply(variables, X), base)


@pytest.mark.parametrize("param_dtype", [jnp.float32, jnp.bfloat16])
def test_gradients_are_summed_in_the_dtype_of_the_weights(param_dtype):
    """bf16 rounds 257 to 256. An input of ones; A is 1, B is 1, and the kernel 0."""
    layer = Linear(1, name="q", lora=Lora(rank=1, alpha=1.0), dtype=jnp.bfloat16)
    one = jnp.ones((1, 1))
    variables = {"params": {"kernel": 0 * one.astype(param_dtype)}, "lora": {"a": one, "b": one}}
    ones = jnp.ones((257, 1), jnp.bfloat16)
    slope, given = jax.grad(lambda v, x: layer.apply(v, x).sum(), argnums=(0, 1))(variables, ones)
    assert (slope["lora"]["a"], slope["lora"]["b"]) == (257, 257)
    kernel = slope["params"]["kernel"]
    assert (kernel.dtype, kernel) == (param_dtype, 257 if param_dtype == jnp.float32 else 256)
    assert given.dtype == jnp.bfloat16 and (given == 1).all()


def test_a_product_of_mixed_dtypes_has_the_value_and_gradients_of_the_cast():
    """For logits too, which are float32; numbers that bf16 holds, and sums that it holds."""
    x, w, dy = (
        jax.random.randint(jax.random.key(i), shape, -3, 4)
        for i, shape in enumerate([(4, 3), (3, 2), (4, 2)])
    )
    layer = Linear(2, dtype=jnp.bfloat16, out_dtype=jnp.float32)

    def value(w, x):
        return (layer.apply({"params": {"kernel": w}}, x) * dy).sum()

    given = w.astype(jnp.float32), x.astype(jnp.bfloat16)
    y, (dw, dx) = jax.value_and_grad(value, argnums=(0, 1))(*given)
    assert (y, dw.dtype, dx.dtype) == (((x @ w) * dy).sum(), jnp.float32, jnp.bfloat16)
    np.testing.assert_array_equal(dw, x.T @ dy)
    np.testing.assert_array_equal(dx, dy @ w.T)


def test_dropout_drops_inputs_of_the_adapter_and_only_with_a_key():
    layer = linear(lora=Lora(rank=2, alpha=2.0, dropout=0.5))
    variables = BASE | {"lora": ADAPTER}
    np.testing.assert_array_equal(layer.apply(variables, X), [[11.0, 5.0]])
    # 4 + 2 * (x1, twice for both columns of A; x2; x3), each there or not
    possible = {4 + 4 * i + 4 * j + 6 * k for i in (0, 1) for j in (0, 1) for k in (0, 1)}
    drawn = [layer.apply(variables, X, rngs={"dropout": jax.random.key(i)})[0] for i in range(8)]
    assert {float(y[0]) for y in drawn} <= possible
    assert len({float(y[0]) for y in drawn}) > 2
    assert {float(y[1]) for y in drawn} == {5.0}
    base = layer.apply(BASE, X, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(base, [[4.0, 5.0]])


def test_logits_keep_the_float32_sum():
    # 256 + 1 is 256 in bfloat16
    params = {"params": {"kernel": jnp.array([[1.0], [1.0]])}}
    x = jnp.array([[256.0, 1.0]])
    half = Linear(1, dtype=jnp.bfloat16)
    assert half.apply(params, x)[0, 0] == 256
    wide = Linear(1, dtype=jnp.bfloat16, out_dtype=jnp.float32)
    assert wide.apply(params, x)[0, 0] == 257


def test_rms_norm_divides_by_the_root_of_the_mean_square():
    y = RMSNorm(eps=0.0).apply({"params": {"scale": jnp.array([1.0, 2.0])}}, jnp.array([3.0, 4.0]))
    np.testing.assert_allclose(y, [3 / 12.5**0.5, 8 / 12.5**0.5], rtol=1e-6)


def test_norms_are_summed_in_float32_and_give_back_the_dtype():
    x = jnp.full((1, 4096), 100.0, jnp.bfloat16)
    y = RMSNorm().apply({"params": {"scale": jnp.ones(4096)}}, x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y.astype(jnp.float32), 1)


def test_a_head_norm_centres_each_head_and_scales_it_by_its_own():
    x = jnp.array([1.0, 3.0, 10.0, 30.0]).reshape(1, 1, 2, 2)
    params = {"scale": jnp.array([[1.0, 1.0], [2.0, 2.0]]), "bias": jnp.array([[0.0, 0], [5, 5]])}
    y = HeadNorm(eps=0.0).apply({"params": params}, x)
    np.testing.assert_allclose(y[0, 0], [[-1, 1], [3, 7]], atol=1e-6)


@pytest.mark.parametrize("stddev", [0.02, 0.0])
def test_a_new_quantised_kernel_is_a_rounded_draw_and_an_adapter_is_added_to_its_product(stddev):
    layer = linear(lora=Lora(rank=2, alpha=2.0), base_dtype="int8", stddev=stddev)
    params = layer.init(rngs(), jnp.ones((1, 400)))["params"]
    kernel = quantize.dequantize(params["kernel"])
    np.testing.assert_allclose(jnp.std(kernel), stddev, rtol=0.2)
    made = {"params": {"kernel": quantize.quantize(KERNEL)}}
    np.testing.assert_allclose(layer.apply(made, X), [[4.0, 5.0]], rtol=0.01)
    np.testing.assert_allclose(layer.apply(made | {"lora": ADAPTER}, X), [[11.0, 5.0]], rtol=0.01)
