"""FLOPs, counted by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from mmcot_jax.plan.flops import flops

A, B = jnp.ones((3, 4)), jnp.ones((4, 5))
PRODUCT = 2 * 3 * 4 * 5


def scanned(a, b):
    return jax.lax.scan(lambda c, _: (c, a @ b), 0, None, length=7)


def looped(a, b):
    return jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: c + a @ b, jnp.zeros((3, 5)))


def looped_twice(a, b):
    once = partial(looped, a, b)
    return once(), once()


def chosen(a, b):
    return jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: jnp.zeros((3, 5)))


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (lambda a, b: a @ b, PRODUCT),
        (jax.jit(lambda a, b: jnp.tanh(a @ b)), PRODUCT),
        (scanned, 7 * PRODUCT),
        (looped, 96 * PRODUCT),
        (chosen, PRODUCT),  # a plan's step leaves nothing out
        # the product, and the gradients of both of its sides
        (lambda a, b: jax.grad(lambda a, b: (a @ b).sum() ** 2, (0, 1))(a, b), 3 * PRODUCT),
    ],
)
def test_products_count_once_per_iteration_of_their_loops(function, count):
    assert flops(jax.make_jaxpr(function)(A, B), (96,)) == count


def test_loops_that_may_end_early_have_their_iterations_in_order():
    assert flops(jax.make_jaxpr(looped_twice)(A, B), (96, 4)) == 100 * PRODUCT


def test_a_convolution_is_a_product_per_pixel():
    x, kernel = jnp.ones((2, 6, 6, 3)), jnp.ones((3, 3, 3, 5))

    def convolve(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)

    assert flops(jax.make_jaxpr(convolve)(x, kernel)) == 2 * (2 * 6 * 6 * 5) * (3 * 3 * 3)
