"""Calls a reward that was written for TRL's GRPOTrainer as TRL calls it.

`f(prompts, completions, **columns) -> list[float | None]`, plain or async; None: not applicable.
The columns are the example's `id` and `answer` (also as `solution`), everything in its `extra`, and
`completion_ids`. A function receives the arguments it names, or all if it has `**kwargs`. In a chat
prompts and completions are lists of messages.
"""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from mmcot_jax.example import Example, Reply


class Called(NamedTuple):
    """The return value of a function and what it logged."""

    values: list[Any]
    metrics: dict[str, float]
    """From `log_metric`: the mean of each name's values."""
    extra: dict[str, list[Any]]
    """From `log_extra`: columns of the completions table, one entry a row."""


def call(
    function: Callable[..., Any],
    examples: Sequence[Example],
    replies: Sequence[Reply],
    ids: Sequence[Sequence[int]],
    *,
    step: int = 0,
    chat: bool = False,
) -> Called:
    """Calls a function once for all rows; `ids` are the replies' tokens.

    Raises:
        ValueError: it did not return one value a row, or logged a column of another length.
        Exception: whatever it raises.
    """
    metrics: dict[str, list[float]] = {}
    extra: dict[str, list[Any]] = {}

    def log_metric(name: str, value: float) -> None:
        metrics.setdefault(name, []).append(float(value))

    def log_extra(column: str, values: Sequence[Any]) -> None:
        if len(values) != len(replies):
            raise ValueError(f"column {column!r} has {len(values)} entries for {len(replies)} rows")
        extra[column] = list(values)

    prompts = [_text(example.prompt) for example in examples]
    completions: list[Any] = [reply.text for reply in replies]
    if chat:
        prompts = [[{"role": "user", "content": text}] for text in prompts]
        completions = [[{"role": "assistant", "content": text}] for text in completions]
    arguments = {
        "prompts": prompts,
        "completions": completions,
        "completion_ids": [list(row) for row in ids],
        "trainer_state": SimpleNamespace(global_step=step),
        "log_metric": log_metric,
        "log_extra": log_extra,
        **_columns(examples),
    }
    parameters = inspect.signature(function).parameters.values()
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        arguments = {p.name: arguments[p.name] for p in parameters if p.name in arguments}
    values = function(**arguments)
    if inspect.isawaitable(values):
        values = asyncio.run(_run(values))
    values = list(values)
    if len(values) != len(replies):
        raise ValueError(f"it returned {len(values)} values for {len(replies)} completions")
    means = {name: sum(logged) / len(logged) for name, logged in metrics.items()}
    return Called(values, means, extra)


async def _run(values: Any) -> Any:
    return await values


def _columns(examples: Sequence[Example]) -> dict[str, list[Any]]:
    names = {name: None for example in examples for name in example.extra}
    columns = {name: [example.extra.get(name) for example in examples] for name in names}
    answers = [example.answer for example in examples]
    return {"solution": answers} | columns | {"id": [e.id for e in examples], "answer": answers}


def _text(prompt: Sequence[Any]) -> str:
    return "".join(s if isinstance(s, str) else "<image>" for s in prompt)
