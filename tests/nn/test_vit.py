import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax.nn.vit import Block, Blocks, Vit, VitConfig

C = VitConfig(width=8, layers=3, heads=2, mlp=12)


def draw(module, x, seed=0):
    """Loud weights."""
    made = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(random.normal(size=s.shape) * 0.5, s.dtype), made)


def test_blocks_follow_one_another_with_their_own_weights():
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, 8)), jnp.float32)
    params = draw(Blocks(C), x)
    expected = x
    block = jax.jit(lambda own, x: Block(C).apply({"params": own}, x)[0])
    for layer in range(3):
        own = jax.tree.map(lambda w: w[layer], params["layers"])  # noqa: B023
        expected = block(own, expected)
    made = jax.jit(lambda params, x: Blocks(C).apply({"params": params}, x))(params, x)
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_without_a_key_bias_it_is_one_of_zeros():
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, 8)), jnp.float32)
    eva = Block(C._replace(key_bias=False))
    params = draw(eva, x)
    attention = params["attention"]
    bias = jnp.concatenate([attention["q_bias"], jnp.zeros(8), attention["v_bias"]])
    qkv = attention["qkv"] | {"bias": bias}
    plain = params | {"attention": {"qkv": qkv, "out": attention["out"]}}
    ours, _ = eva.apply({"params": params}, x)
    np.testing.assert_allclose(ours, Block(C).apply({"params": plain}, x)[0], atol=1e-6)


@pytest.mark.parametrize(("row", "column", "token"), [(0, 0, 1), (0, 2, 3), (1, 0, 4), (1, 2, 6)])
def test_patches_are_tokens_in_raster_order_after_the_class_token(row, column, token):
    vit = Vit(C._replace(layers=0), patch=2)
    blank = jnp.zeros((1, 4, 6, 3))
    params = draw(vit, blank)
    marked = blank.at[0, 2 * row + 1, 2 * column].set(1.0)
    change = vit.apply({"params": params}, marked) - vit.apply({"params": params}, blank)
    assert change.shape == (1, 7, 8)
    assert np.flatnonzero(np.abs(change[0]).max(-1)).tolist() == [token]
    # the second row, first column of the patch
    np.testing.assert_allclose(change[0, token], params["patch_kernel"][1, 0].sum(0), atol=1e-6)


def test_half_precision_weights_keep_float32_norms():
    half = C._replace(dtype="bfloat16", param_dtype="bfloat16")
    x = jnp.ones((1, 3, 8), jnp.bfloat16)
    shapes = jax.eval_shape(Blocks(half).init, jax.random.key(0), x)["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("bfloat16")}
    assert jax.eval_shape(Blocks(half).apply, {"params": shapes}, x).dtype == jnp.bfloat16
