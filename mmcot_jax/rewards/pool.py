"""Computes rewards in worker processes, each call with a time limit, so that none can stop a run.

A module's rewards have `processes` workers of their own: what a user's file does to its process is
felt by no other file. Axes: B rows, R rewards.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from mmcot_jax.errors import check_choice
from mmcot_jax.example import Example, Reply
from mmcot_jax.rewards import resolve, short_names
from mmcot_jax.rewards.results import RewardResult, join
from mmcot_jax.rewards.task import Sample, Task
from mmcot_jax.rewards.trl import TrainerState
from mmcot_jax.rewards.workers import Workers

CHAT = {"auto": None, "true": True, "false": False}
"""Values of `grpo.chat`, in lower case, as `Reward.chat`."""


class Pool:
    """A context with worker processes that compute rewards.

    `chat`: True if rewards written for TRL receive lists of messages, False for strings, "auto" to
    find it out for each function at its first call; what a function's `f.chat` says comes first.
    `max_steps`, and `epoch_steps`, the steps of an epoch, are for TRL's `trainer_state`.

    Raises:
        ValueError: as `check_rewards`.
    """

    def __init__(
        self,
        names: Sequence[str],
        weights: Sequence[float] | None = None,
        *,
        timeout_s: float,
        processes: int,
        chat: bool | str = "auto",
        max_steps: int = 0,
        epoch_steps: int = 0,
    ):
        check_rewards(names, weights, timeout_s, processes, chat)
        self._rewards = [resolve(name) for name in names]
        self._short, self._chat = short_names(names), CHAT[str(chat).lower()]
        self._timeout, self._processes = timeout_s, processes
        self._max_steps, self._epoch_steps = max_steps, epoch_steps

    def __enter__(self) -> "Pool":
        """Starts the workers and returns at once; their imports go on meanwhile."""
        names: dict[str, list[str]] = {}
        for reward in self._rewards:
            names.setdefault(reward.module, []).append(reward.name)
        self._workers = {
            module: Workers(each, self._processes, self._timeout) for module, each in names.items()
        }
        return self

    def __exit__(self, *_: object) -> None:
        """Kills the workers, whatever they are doing."""
        for workers in self._workers.values():
            workers.close()

    def submit(
        self,
        examples: Sequence[Example],
        replies: Sequence[Reply],
        ids: Sequence[np.ndarray] = (),
        step: int = 0,
        group_size: int | None = None,
    ) -> "PendingRewards":
        """Starts to score a batch and returns at once.

        `ids`, the replies' tokens, and `step` become TRL's `completion_ids` and `trainer_state`.
        A group is `group_size` rows, or neighbours that share one `Example` object. Pixels and
        embeddings are sent only to rewards that read them.
        """
        ids = ids or [np.zeros(0, np.int32)] * len(replies)
        rows = list(zip(examples, replies, ids, strict=True))
        # the rows of a group share one Example object, so pickle sends it once
        stripped = {id(example): example.without_pixels for example in examples}
        text_rows: list[Sample] = [
            (stripped[id(example)], reply.without_pixels, tokens) for example, reply, tokens in rows
        ]
        groups = _groups(examples, group_size)
        epoch = step / self._epoch_steps if self._epoch_steps else 0.0
        state = TrainerState(step, self._max_steps, epoch)
        tasks = []
        for reward, name in zip(self._rewards, self._short, strict=True):
            samples = rows if reward.reads_pixels else text_rows
            task = Task(reward, name, samples, groups, state=state)
            chat = self._chat if reward.chat is None else reward.chat
            self._workers[reward.module].submit(task, chat)
            tasks.append(task)
        return PendingRewards(tasks)


class PendingRewards:
    """The rewards of a batch while they are computed."""

    def __init__(self, tasks: Sequence[Task]):
        self._tasks = tasks

    def result(self) -> RewardResult:
        """Waits for the last reward and returns all."""
        return join([task.future.result() for task in self._tasks])


def check_rewards(
    names: Sequence[str],
    weights: Sequence[float] | None,
    timeout_s: float,
    processes: int,
    chat: bool | str = "auto",
) -> None:
    """Checks the rewards of a config.

    Raises:
        ValueError: no rewards, an unknown one, one named twice, another number of weights, no
            time or no process to compute them.
    """
    if not names:
        raise ValueError("there are no rewards; give reward_funcs at least one")
    for name, times in Counter(names).items():
        if times > 1:
            raise ValueError(f"reward {name!r} is named {times} times; name each once")
    if weights is not None and len(weights) and len(weights) != len(names):
        raise ValueError(
            f"there are {len(weights)} reward_weights {tuple(weights)} for {len(names)} "
            f"reward_funcs ({', '.join(names)}); give one weight a reward, or none"
        )
    if timeout_s <= 0 or processes < 1:
        raise ValueError(
            f"reward_timeout is {timeout_s} and reward_processes {processes}; give seconds above 0 "
            "and at least 1 process"
        )
    check_choice("grpo.chat", str(chat).lower(), CHAT)
    for name in names:
        resolve(name)


def _groups(examples: Sequence[Example], size: int | None) -> list[list[int]]:
    """Returns the rows of each group."""
    rows = range(len(examples))
    if size:
        return [list(rows[first : first + size]) for first in rows[::size]]
    return [list(group) for _, group in groupby(rows, key=lambda row: id(examples[row]))]
