"""A stack of equal layers as one scanned layer: one program whatever their number."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn


def scan_layers(
    stack: nn.Module, layer: type[nn.Module], length: int, *, in_axes: Any = 0, unroll: int = 1
) -> Callable[..., nn.Module]:
    """Returns a module whose parameters are those of `layer`, stacked along a new first axis.

    Args:
        stack: the module that has the layers.
        layer: its `__call__(x, ...)` returns (x, output).
        length: how many layers.
        in_axes: of the arguments after `x`: 0, one slice for each layer; `nn.broadcast`, the same
            for all.
        unroll: how many layers are one piece of program, but for drawing their first values.
    """
    names = ("params", "lora")
    initializing = stack.is_initializing()
    return nn.scan(
        layer,
        variable_axes=dict.fromkeys(names, 0),
        split_rngs=dict.fromkeys((*names, "dropout"), True),
        in_axes=in_axes,
        length=length,
        unroll=1 if initializing else unroll,
        # the check traces a layer once more; the values that a seed draws depend on it
        check_constancy_invariants=initializing,
    )
