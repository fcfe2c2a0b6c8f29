"""Options for the compiler."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax import compilation


@pytest.mark.parametrize("init", [nn.initializers.normal(0.02), nn.initializers.lecun_normal()])
def test_a_program_that_runs_once_has_the_same_bits(init):
    def draw(key):
        return init(key, (67, 33), jnp.float32)

    mesh, key = jax.make_mesh((1,), ("data",)), jax.random.key(0)
    once = jax.jit(draw, compiler_options=compilation.options_to_run_once(mesh))
    np.testing.assert_array_equal(once(key), jax.jit(draw)(key))


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_accelerators_compile_by_their_defaults(platform):
    mesh = SimpleNamespace(devices=np.array([[SimpleNamespace(platform=platform)]]))
    assert compilation.options_to_run_once(mesh) is None
