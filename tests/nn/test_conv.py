"""Layers of the image tokenizer, by hand."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmcot_jax.nn.conv import AttentionBlock, GroupNorm, ResBlock, conv, downsample, upsample


def ones(kernel_size):
    kernel = jnp.ones((kernel_size, kernel_size, 1, 1))
    return {"params": {"kernel": kernel, "bias": jnp.zeros(1)}}


class Named(nn.Module):
    """A function that names its convolution, as a module's child."""

    function: Callable

    @nn.compact
    def __call__(self, x):
        return self.function(x, jnp.float32, name="conv")


def column(*values):
    return jnp.array(values, jnp.float32).reshape(1, len(values), 1, 1).repeat(2, 2)


def test_a_convolution_pads_with_zeros_on_all_sides():
    y = conv(1, (3, 3)).apply(ones(3), column(1, 2, 3))
    assert y[0, :, 0, 0].tolist() == [6, 12, 10]


def test_downsampling_pads_below_and_on_the_right():
    y = Named(downsample).apply({"params": {"conv": ones(3)["params"]}}, column(1, 2, 3, 4))
    # rows 0-2 and 2-4, the last one zero; both columns
    assert y.shape == (1, 2, 1, 1)
    assert y.ravel().tolist() == [12, 14]


def test_upsampling_repeats_before_it_convolves():
    params = {"kernel": jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1), "bias": jnp.zeros(1)}
    y = Named(upsample).apply({"params": {"conv": params}}, column(1, 2))
    assert y[0, :, 0, 0].tolist() == [1, 1, 2, 2]
    assert y.shape == (1, 4, 4, 1)


def test_a_group_is_normalised_over_its_pixels_and_channels():
    x = jnp.array([1.0, 3.0, 10.0, 10.0]).reshape(1, 1, 1, 4).repeat(2, 1)
    params = {"scale": jnp.ones(4), "bias": jnp.zeros(4)}
    y = GroupNorm(groups=2).apply({"params": params}, x)
    np.testing.assert_allclose(y[0, 0, 0], [-1, 1, 0, 0], atol=1e-5)


def test_group_sums_are_float32_in_bfloat16():
    x = jnp.full((1, 64, 64, 2), 3.0, jnp.bfloat16).at[0, 0, 0, 0].set(3.5)
    params = {"scale": jnp.ones(2), "bias": jnp.zeros(2)}
    y = GroupNorm(groups=1).apply({"params": params}, x)
    assert y.dtype == jnp.bfloat16
    # one of 8192 numbers differs by 0.5: 0.49994 / sqrt(0.25 / 8192 + 1e-6) = 89.05
    np.testing.assert_allclose(float(y[0, 0, 0, 0]), 89.05, atol=0.25)


def test_a_block_has_a_shortcut_only_where_the_channels_change():
    x = jnp.ones((1, 2, 2, 4))
    same, wider = (
        jax.eval_shape(ResBlock(width, groups=2).init, jax.random.key(0), x)["params"]
        for width in (4, 8)
    )
    assert sorted(same) == ["conv1", "conv2", "norm1", "norm2"]
    assert wider["nin_shortcut"]["kernel"].shape == (1, 1, 4, 8)


def test_attention_without_a_projection_adds_nothing():
    x = jnp.arange(16.0).reshape(1, 2, 2, 4)
    block = AttentionBlock(groups=2)
    params = block.init(jax.random.key(0), x)["params"]
    params["proj_out"] = jax.tree.map(jnp.zeros_like, params["proj_out"])
    assert (block.apply({"params": params}, x) == x).all()
