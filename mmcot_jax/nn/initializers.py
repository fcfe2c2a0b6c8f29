"""Initial values of parameters."""

import math

import flax.linen as nn
import jax
from jax.typing import DTypeLike


def as_matrix(init: nn.initializers.Initializer) -> nn.initializers.Initializer:
    """Returns an initialiser that draws a kernel, [... inputs, outputs], as a matrix.

    The values are the same, since they depend on an element's number alone. On a CPU a draw of
    four axes compiles for 1.2 s, one of five for 2.3 s, that of a matrix for 0.3 s.
    """

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
        return init(key, (math.prod(shape[:-1]), shape[-1]), dtype).reshape(shape)

    return draw
