"""Counts the FLOPs of a traced program: its matrix products and convolutions.

They follow from shapes, times the trip counts of loops; a multiply-add counts as two.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from math import prod
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr


def flops(
    jaxpr: Jaxpr | ClosedJaxpr,
    loop_steps: Sequence[int] = (1,),
    branch: Callable[[Iterable], float] = min,
) -> float:
    """FLOPs of all devices.

    `loop_steps` has the iterations of the loops that may end early, in the order of the program;
    the last number is that of all further ones. Of the branches of a condition the cheapest counts,
    so the result is a lower bound; a branch without any leaves out work that a step may have.
    """
    steps = chain(loop_steps, repeat(loop_steps[-1]))
    return _flops(jaxpr, steps, branch)


def _flops(jaxpr: Any, steps: Iterator[int], branch: Callable[[Iterable], float]) -> float:
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    return sum((_equation(eqn, steps, branch) for eqn in jaxpr.eqns), 0.0)


def _equation(eqn: Any, steps: Iterator[int], branch: Callable[[Iterable], float]) -> float:
    name, p = eqn.primitive.name, eqn.params
    if name == "dot_general":
        contracted = p["dimension_numbers"][0][0]
        shape = eqn.invars[0].aval.shape
        return 2.0 * prod(eqn.outvars[0].aval.shape) * prod(shape[i] for i in contracted)
    if name == "conv_general_dilated":
        kernel = eqn.invars[1].aval.shape
        out = p["dimension_numbers"].rhs_spec[0]
        each = prod(n for i, n in enumerate(kernel) if i != out)
        return 2.0 * prod(eqn.outvars[0].aval.shape) * each
    if name == "pallas_call":
        # one block per grid step; masked blocks are not in the grid
        return 1.0 * prod(p["grid_mapping"].grid) * flops(p["jaxpr"], branch=max)
    times = next(steps) if name == "while" else 1  # before the loops within it
    inner = [_flops(x, steps, branch) for x in _jaxprs(p)]
    if name == "cond":
        return branch([x for x in inner if x] or [0.0])
    if name == "scan":
        return p["length"] * sum(inner, 0.0)
    if name == "shard_map":
        return p["mesh"].size * sum(inner, 0.0)
    return times * sum(inner, 0.0)


def _jaxprs(params: dict[str, Any]) -> list[Any]:
    values = [x for p in params.values() for x in (p if isinstance(p, tuple | list) else (p,))]
    return [x for x in values if isinstance(x, Jaxpr | ClosedJaxpr)]
