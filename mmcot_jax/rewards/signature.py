"""Finds out from a function's parameters how a reward is called.

Two conventions: `f(example, reply) -> float` of one sample, and that of TRL's trainer, which calls
`f(prompts=..., completions=..., ...) -> list[float]` of several samples by keyword only.
"""

import functools
import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any

TRL_ARGUMENTS = (
    "prompts",
    "completions",
    "completion_ids",
    "images",
    "completion_images",
    "trainer_state",
    "log_metric",
    "log_extra",
)
"""Arguments of a TRL reward beside the columns of the data."""
COLUMNS = ("id", "answer", "solution")
"""Columns that every question has; a task's `extra` adds its own."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def signature(function: Callable[..., Any]) -> inspect.Signature:
    """Returns a function's signature; that of the decorated function if the decorator hides it.

    Raises:
        ValueError: it has none, as some functions written in C.
    """
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):
        raise ValueError("has no signature; wrap it in a function (example, reply)") from None
    kinds = [p.kind for p in found.parameters.values()]
    if kinds == [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]:
        # a decorator without functools.wraps: def wrapper(*args, **kwargs)
        if isinstance(function, functools.partial):
            return signature(function.func)
        cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
        inner = [x for x in cells if callable(x) and not inspect.isclass(x)]
        if len(inner) == 1:
            return signature(inner[0])
    return found


def names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Returns the parameters that can be passed by keyword, without `**kwargs`."""
    keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(p.name for p in signature(function).parameters.values() if p.kind in keyword)


def is_async(function: Callable[..., Any]) -> bool:
    """Returns whether a function is an `async def`, or an object whose `__call__` is one."""
    code = _code(function)
    return bool(code and code.co_flags & inspect.CO_COROUTINE)


def mentions(function: Callable[..., Any], name: str) -> bool:
    """Returns whether a function has a parameter of this name, or reads `kwargs[name]`."""
    return name in names(function) or (takes_any(function) and name in _constants(_code(function)))


def required(function: Callable[..., Any]) -> tuple[str, ...]:
    """Returns the parameters without a default, without `*args` and `**kwargs`."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.default is p.empty and p.kind not in variable)


def takes_any(function: Callable[..., Any]) -> bool:
    """Returns whether a function has `**kwargs`."""
    return _has(function, inspect.Parameter.VAR_KEYWORD)


def follows_trl(function: Callable[..., Any]) -> bool:
    """Returns whether a reward is called as TRL calls it, instead of with (example, reply).

    It is if it names one of `TRL_ARGUMENTS`, or has `**kwargs` and does not require exactly two
    arguments. Two required arguments of any other names are (example, reply).

    Raises:
        ValueError: it can be called neither way.
    """
    parameters = signature(function).parameters.values()
    need = required(function)
    positional = [p.name for p in parameters if p.name in need and p.kind in _POSITIONAL]
    if len(positional) == len(need) == 2:
        if need == ("example", "reply"):
            return False
        columns = takes_any(function) and set(need) <= set(COLUMNS)
        return columns or bool(set(names(function)) & set(TRL_ARGUMENTS))
    if takes_any(function) or set(names(function)) & set(TRL_ARGUMENTS):
        return True
    if len(positional) == len(need) <= 2 and _has(function, inspect.Parameter.VAR_POSITIONAL):
        return False
    raise ValueError(
        f"takes ({', '.join(p.name for p in parameters)}); a reward takes (example, reply), or by "
        f"name what TRL's trainer passes: {', '.join(TRL_ARGUMENTS)} and columns of the data"
    )


def _code(function: Callable[..., Any]) -> CodeType | None:
    """Returns the code of a function, of a partial's or decorator's, or of a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    return code or getattr(type(function).__call__, "__code__", None)


def _constants(code: CodeType | None) -> set[str]:
    """Returns the strings in a function's code and in that of functions inside it."""
    if code is None:
        return set()
    inner = (_constants(c) for c in code.co_consts if isinstance(c, CodeType))
    return {c for c in code.co_consts if isinstance(c, str)}.union(*inner)


def _has(function: Callable[..., Any], kind: Any) -> bool:
    return any(p.kind is kind for p in signature(function).parameters.values())
