"""Options for the compiler."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax import compilation


@pytest.mark.parametrize("init", [nn.initializers.normal(0.02), nn.initializers.lecun_normal()])
def test_a_program_that_runs_once_draws_the_same_numbers(init):
    def draw(key):
        return init(key, (67, 33), jnp.float32)

    options = compilation.options_to_run_once(jax.default_backend())
    once, often = (jax.jit(draw, compiler_options=o)(jax.random.key(0)) for o in (options, None))
    np.testing.assert_array_max_ulp(np.asarray(once), np.asarray(often), maxulp=4)


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_accelerators_compile_by_their_defaults(platform):
    assert compilation.options_to_run_once(platform) is None


def test_a_gpu_decodes_with_products_of_cublas_and_other_devices_by_their_defaults():
    assert compilation.options_to_decode("gpu") == {"xla_gpu_triton_gemm_any": False}
    assert not any(map(compilation.options_to_decode, ("cpu", "tpu")))


def test_the_compiler_knows_the_options_of_a_gpu():
    """They are of all its builds: those for a CPU ignore them."""
    double = jax.jit(lambda x: 2 * x, compiler_options=compilation.options_to_decode("gpu"))
    assert double(2.0) == 4.0
