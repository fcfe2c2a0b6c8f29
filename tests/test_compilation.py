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


def test_the_compiler_knows_the_options_of_a_gpu():
    """They are of all its builds: those for a CPU ignore them."""
    double = jax.jit(lambda x: 2 * x, compiler_options=compilation.options_to_decode("gpu"))
    assert double(2.0) == 4.0


def test_an_option_that_no_compiler_knows_is_an_error():
    unknown = jax.jit(lambda x: 2 * x, compiler_options={"xla_gpu_no_such_option": False})
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_gpu_no_such_option"):
        unknown(2.0)
