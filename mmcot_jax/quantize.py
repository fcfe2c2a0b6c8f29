"""int8 weights of a frozen decoder: kernels and the embedding, with a scale per output channel.

A weight is a `QArray` of qwix: `qvalue`, int8, and `scale`, float32, whose summed axis is 1 long.
Quantised weights change a product by 0.7 % (relative error), and need half of bfloat16's memory.
qwix is imported when the first is made: its import is slow, and most runs have none.
"""

import sys
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

if TYPE_CHECKING:
    import qwix


def quantize(weight: jax.Array, axis: int = -2) -> "qwix.QArray":
    """Returns a weight in int8, rounded to nearest; `axis` is the one that a product sums over."""
    import qwix

    channels = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
    return qwix.quantize(weight.astype(jnp.float32), jnp.int8, channelwise_axes=channels)


def is_quantized(x: Any) -> bool:
    """Returns whether `x` is a quantised weight; for `is_leaf` of jax's trees."""
    qwix = sys.modules.get("qwix")  # before it is imported there are none
    return qwix is not None and isinstance(x, qwix.QArray)


def dequantize(weight: "qwix.QArray") -> jax.Array:
    """Returns the float32 weight that products with `weight` use."""
    return weight.qvalue.astype(jnp.float32) * weight.scale


def dot(x: jax.Array, weight: "qwix.QArray", out: DTypeLike) -> jax.Array:
    """[... in], [in out] -> [... out]: the int8 values in x's dtype, the scales after the sum.

    int8 is exact in bfloat16, so only the sum is rounded. qwix's own product multiplies the weights
    by their scales first: a float32 copy of each weight, and a float32 product.
    """
    total = jnp.dot(x, weight.qvalue.astype(x.dtype), preferred_element_type=jnp.float32)
    return (total * weight.scale[0]).astype(out)


def unquantized_path(path: str) -> str:
    """Returns the path of a weight that `path` is a part of: `q/kernel` of `q/kernel/scale`."""
    weight, _, part = path.rpartition("/")
    parts = ("qvalue", "scale")
    return weight if part in parts and weight.endswith(("kernel", "embedding")) else path
