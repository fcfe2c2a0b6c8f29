"""Stacked layers equal layers one after the other, and are traced once."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmcot_jax.nn.layers import scan_layers

TRACED = []


class Layer(nn.Module):
    """x * scale + shift * own, as the body of a scan."""

    @nn.compact
    def __call__(self, x, shift, own):
        TRACED.append(x)
        scale = self.param("scale", nn.initializers.normal(), (1,))
        x = x * scale + shift * own
        return x, x.sum()


class Stack(nn.Module):
    @nn.compact
    def __call__(self, x, shift, own):
        every = scan_layers(self, Layer, 3, in_axes=(nn.broadcast, 0), unroll=3)
        return every(name="layers")(x, shift, own)


def test_stacked_layers_are_layers_one_after_the_other():
    x, shift, own = jnp.ones(2), jnp.full(2, 0.5), jnp.arange(3.0)
    variables = Stack().init(jax.random.key(0), x, shift, own)
    scale = np.array(variables["params"]["layers"]["scale"])
    assert scale.shape == (3, 1) and len(set(scale.ravel().tolist())) == 3
    found, sums = Stack().apply(variables, x, shift, own)
    expected, outputs = np.ones(2), []
    for i in range(3):
        expected = expected * scale[i] + 0.5 * i
        outputs.append(expected.sum())
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(sums, outputs, rtol=1e-6)


def test_a_stack_traces_its_layer_once():
    x, shift, own = jnp.ones(2), jnp.full(2, 0.5), jnp.arange(3.0)
    variables = Stack().init(jax.random.key(0), x, shift, own)
    TRACED.clear()
    jax.make_jaxpr(Stack().apply)(variables, x, shift, own)
    assert len(TRACED) == 1
