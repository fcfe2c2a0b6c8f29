"""Counts the FLOPs of a traced program: its matrix products and convolutions.

They follow from shapes, times the trip counts of loops; a multiply-add counts as two.
"""

from collections.abc import Callable, Iterable
from math import prod
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr


def flops(
    jaxpr: Jaxpr | ClosedJaxpr, max_loop_steps: int = 1, branch: Callable[[Iterable], float] = min
) -> float:
    """FLOPs of all devices; a loop of unknown trip count counts `max_loop_steps` times.

    Of the branches of a condition the cheapest counts, so the result is a lower bound.
    """
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    return sum((_equation(eqn, max_loop_steps, branch) for eqn in jaxpr.eqns), 0.0)


def _equation(eqn: Any, loop_steps: int, branch: Callable[[Iterable], float]) -> float:
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
        return 1.0 * prod(p["grid_mapping"].grid) * flops(p["jaxpr"], 1, max)
    inner = [flops(x, loop_steps, branch) for x in _jaxprs(p)]
    if name == "cond":
        return branch(inner)
    if name == "scan":
        return p["length"] * sum(inner, 0.0)
    if name == "while":
        return loop_steps * sum(inner, 0.0)
    if name == "shard_map":
        return p["mesh"].size * sum(inner, 0.0)
    return sum(inner, 0.0)


def _jaxprs(params: dict[str, Any]) -> list[Any]:
    values = [x for p in params.values() for x in (p if isinstance(p, tuple | list) else (p,))]
    return [x for x in values if isinstance(x, Jaxpr | ClosedJaxpr)]
