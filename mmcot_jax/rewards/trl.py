"""Calls a reward that was written for TRL's GRPOTrainer as TRL calls it.

`f(prompts=..., completions=..., ...) -> list[float | None]`, plain or async; None: not applicable.
Everything is passed by keyword. A function receives the arguments it names, or all if it has
`**kwargs`:

    prompts, completions    strings, or lists of messages (`wants_messages`); a picture is `<image>`
    completion_ids          the tokens of each reply
    columns of the data     `id`, `answer` (also as `solution`), and everything in an example's
                            `extra`; a column that a row lacks is None there
    images                  the PIL images of each question; `image` is the first of them
    completion_images       the PIL images of each reply, None for one that cannot be decoded
    trainer_state           with `global_step`, `max_steps` and `epoch`
    log_metric, log_extra   log a number of the call, or a column of the completions

A call gets one group, the completions of one prompt, whatever the number of worker processes, so
that functions which compare completions compare those of a group. A function that sets
`f.whole_batch = True` gets all completions of this host in one call. Calls of an `async def` for
different groups wait at once.

Images are passed to functions that mention them by these names, as an argument or as
`kwargs["images"]`, or that set `f.needs_images = True`.
"""

import asyncio
import contextlib
import inspect
import io
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mmcot_jax.example import IMAGE, Example, Picture, Reply
from mmcot_jax.rewards import Reward, signature

PROBE = "<think>\nOne and one.\n</think>\n<answer>\n2\n</answer>"
"""The completion on which `wants_messages` calls a function."""


class TrainerState(NamedTuple):
    """The position of a run: the fields that `trainer_state` has."""

    global_step: int = 0
    max_steps: int = 0
    epoch: float = 0.0


class Samples(NamedTuple):
    """The rows of a call."""

    examples: Sequence[Example]
    replies: Sequence[Reply]
    ids: Sequence[Sequence[int]]
    """The replies' tokens."""
    state: TrainerState = TrainerState()


class Called(NamedTuple):
    """The return value of a function and what it logged."""

    values: list[Any]
    metrics: dict[str, list[float]]
    """From `log_metric`: all values of each name."""
    extra: dict[str, list[Any]]
    """From `log_extra`: columns of the completions table, one entry a row."""


def run_async(value: Awaitable[Any]) -> Any:
    """Runs an awaitable in an event loop of its own."""

    async def wait() -> Any:
        return await value

    return asyncio.run(wait())


def call(
    reward: Reward,
    samples: Samples,
    *,
    chat: bool = False,
    run: Callable[[Awaitable[Any]], Any] = run_async,
) -> Called:
    """Calls a function once for all rows; `run` runs what an async one returns.

    Raises:
        ValueError: it did not return one value a row, logged something that is not a number or a
            column of another length, or names an argument that there is not.
        Exception: whatever it raises.
    """
    texts = [_text(example.prompt) for example in samples.examples]
    return _call(reward, samples, texts, [r.text for r in samples.replies], chat, run)


def wants_messages(
    reward: Reward, samples: Samples, run: Callable[[Awaitable[Any]], Any] = run_async
) -> bool:
    """Returns whether a function reads messages instead of strings, by calling it on `PROBE`.

    It does if it reads a string as if it were a message (`completion[0]["content"]`, also inside a
    `try`), or if it raises on strings and does not on messages. Its output is discarded.
    """
    reads: list[str] = []

    class Text(str):
        """A string that notes when it is read as a list of messages."""

        def __getitem__(self, key: Any) -> str:
            if isinstance(key, str):
                reads.append(key)
            return Text(super().__getitem__(key))

        def __iter__(self) -> Iterator[str]:
            return map(Text, super().__iter__())

        def __getattr__(self, name: str) -> Any:
            if name in ("get", "content", "role", "keys", "values", "items"):
                reads.append(name)
            raise AttributeError(f"'str' object has no attribute {name!r}")

    prompts = [Text(_text(example.prompt)) for example in samples.examples]

    def raises(chat: bool) -> bool:
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                _call(reward, samples, prompts, [Text(PROBE)] * len(prompts), chat, run)
            except BaseException:
                return True
        return False

    failed = raises(chat=False)
    return bool(reads) or (failed and not raises(chat=True))


def _call(
    reward: Reward,
    samples: Samples,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    chat: bool,
    run: Callable[[Awaitable[Any]], Any],
) -> Called:
    metrics: dict[str, list[float]] = {}
    extra: dict[str, list[Any]] = {}
    rows = len(samples.replies)

    def log_metric(name: Any, value: Any) -> None:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"log_metric({name!r}, {value!r:.60}): give a number") from None
        metrics.setdefault(str(name), []).append(number)

    def log_extra(column: Any, values: Any) -> None:
        if len(values) != rows:
            raise ValueError(f"column {column!r} has {len(values)} entries for {rows} rows")
        extra[str(column)] = list(values)

    if chat:
        prompts = [[{"role": "user", "content": text}] for text in prompts]
        completions = [[{"role": "assistant", "content": text}] for text in completions]
    arguments = _columns(samples.examples)
    if reward.reads_pixels:  # in place of a column `image` with the name of a file
        arguments |= _images(samples)
    arguments |= {
        "prompts": list(prompts),
        "completions": list(completions),
        "completion_ids": [list(row) for row in samples.ids],
        "trainer_state": SimpleNamespace(**samples.state._asdict()),
        "log_metric": log_metric,
        "log_extra": log_extra,
    }
    if missing := [n for n in signature.required(reward.function) if n not in arguments]:
        raise ValueError(
            f"it takes {', '.join(missing)}, and the data has no such column; there are "
            f"{', '.join(sorted(arguments))}"
        )
    if not signature.takes_any(reward.function):
        named = signature.names(reward.function)
        arguments = {name: arguments[name] for name in named if name in arguments}
    values = reward.function(**arguments)
    if inspect.isawaitable(values):
        values = run(values)
    return Called(_listed(values, rows), metrics, extra)


def _listed(values: Any, rows: int) -> list[Any]:
    """Returns a function's values as a list: of a list, array, tensor or generator."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, str | bytes | dict) or not hasattr(values, "__iter__"):
        raise ValueError(
            f"it returned a {type(values).__name__}; return a list with a number for each of the "
            f"{rows} completions"
        )
    found = list(islice(values, rows + 1))
    if len(found) != rows:
        count = f"more than {rows}" if len(found) > rows else f"{len(found)}"
        count = f"{len(values)}" if hasattr(values, "__len__") else count
        raise ValueError(f"it returned {count} values for {rows} completions")
    return found


def _columns(examples: Sequence[Example]) -> dict[str, list[Any]]:
    names = {name: None for example in examples for name in example.extra}
    columns = {name: [example.extra.get(name) for example in examples] for name in names}
    answers = [example.answer for example in examples]
    return {"id": [e.id for e in examples], "solution": answers} | columns | {"answer": answers}


def _images(samples: Samples) -> dict[str, list[Any]]:
    """Returns the pictures of questions and replies; rows of a group share the question's."""
    questions = {
        id(e): [_pil(s) for s in e.prompt if not isinstance(s, str)] for e in samples.examples
    }
    images = [questions[id(example)] for example in samples.examples]
    return {
        "images": images,
        "image": [row[0] if row else None for row in images],
        "completion_images": [[_pil(p) for p in reply.pictures] for reply in samples.replies],
    }


def _pil(picture: np.ndarray | Picture) -> Image.Image | None:
    pixels = picture.pixels if isinstance(picture, Picture) else picture
    return None if pixels is None else Image.fromarray(pixels)


def _text(prompt: Sequence[Any]) -> str:
    return "".join(s if isinstance(s, str) else IMAGE for s in prompt)
