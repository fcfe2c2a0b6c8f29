"""Initial values that are drawn as a matrix."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax.nn.conv import conv
from mmcot_jax.nn.initializers import as_matrix


@pytest.mark.parametrize("shape", [(5, 7), (3, 3, 4, 6), (3, 2, 4, 4, 8), (2, 1, 3)])
@pytest.mark.parametrize("init", [nn.initializers.normal(0.02), nn.initializers.lecun_normal()])
def test_a_matrix_has_the_values_of_the_kernel(shape, init):
    key = jax.random.key(3)
    drawn = as_matrix(init)(key, shape, jnp.float32)
    np.testing.assert_array_equal(drawn, init(key, shape, jnp.float32))


def test_a_convolution_begins_with_flax_s_values():
    x, key = jnp.ones((1, 4, 4, 3)), jax.random.key(1)
    ours, flax_s = (layer(6, (3, 3)).init(key, x) for layer in (conv, nn.Conv))
    jax.tree.map(np.testing.assert_array_equal, ours, flax_s)
