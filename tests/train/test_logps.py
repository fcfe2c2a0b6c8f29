import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax.train.logps import score

B, T, V = 2, 10, 36


@pytest.fixture(scope="module")
def given():
    random = np.random.default_rng(0)
    hidden = jnp.asarray(random.normal(size=(B, T, 32)), jnp.float32)
    return hidden, jnp.asarray(random.integers(0, V, (B, T)), jnp.int32)


def test_it_is_the_log_softmax_at_the_target(chameleon, given):
    backbone, variables = chameleon
    hidden, targets = given
    logits = backbone.unembed(variables, hidden)
    expected = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
    scores = score(backbone, variables, hidden, targets, chunk=T)
    np.testing.assert_allclose(scores.logps, expected, atol=1e-6)
    np.testing.assert_array_equal(scores.right, logits.argmax(-1) == targets)
    likeliest = score(backbone, variables, hidden, logits.argmax(-1).astype(jnp.int32), chunk=3)
    assert likeliest.right.all()


def total(chameleon, chunk):
    def f(variables, hidden, targets):
        return score(chameleon.backbone, variables, hidden, targets, chunk).logps.sum()

    return jax.value_and_grad(f, (0, 1))


@pytest.mark.parametrize("chunk", [1, 3, 5])
def test_chunks_are_the_whole_gradients_included(chameleon, given, chunk):
    whole, gradient = jax.jit(total(chameleon, T))(chameleon.variables, *given)
    parts, gradients = jax.jit(total(chameleon, chunk))(chameleon.variables, *given)
    np.testing.assert_allclose(parts, whole, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), gradients, gradient)
    assert float(jnp.abs(gradient[0]["params"]["decoder"]["head"]["kernel"]).max()) > 0.1


@pytest.mark.parametrize(("chunk", "whole"), [(5, False), (T, True)])
def test_chunked_it_never_holds_all_logits(chameleon, given, chunk, whole):
    program = str(jax.make_jaxpr(total(chameleon, chunk))(chameleon.variables, *given))
    assert (f"f32[{B},{T},{V}]" in program) == whole
    assert f"f32[{B},{chunk},{V}]" in program
