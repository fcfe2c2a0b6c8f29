"""Files and numbers of a GRPO step: completions, failed rewards, metrics.

Axes: N prompts, G samples per prompt, B = N G rows of this process, R rewards.
"""

import json
import math
import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import rich.console
from jax.sharding import Mesh

from mmcot_jax import hosts, prompt_pictures
from mmcot_jax import mesh as meshes
from mmcot_jax.boxes import Space
from mmcot_jax.evals.grounded import boxes_of
from mmcot_jax.example import Example, Question, Reply
from mmcot_jax.log import completions_table, plain, write_completions, write_text
from mmcot_jax.rewards import COMPLETION_COLUMNS, columns_of, free_name, short_names
from mmcot_jax.rewards.results import FailureWatch, RewardResult, failure_mask
from mmcot_jax.rollout.generate import Generations
from mmcot_jax.train.process_rewards import indices
from mmcot_jax.types import Backbone

METRICS = ("stage", "step", "kl")
"""Names of metrics.jsonl that not every step's metrics hold."""
PREFIXES = ("eval_", "time/", "rewards/", "failures/")


class Clock:
    """Seconds between its stops, in all by name."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def stop(self, name: str) -> None:
        """Ends the interval `name`, and begins the next one."""
        now = time.monotonic()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


class StepLog:
    """Writes the steps of a stage into a workdir; `mesh` is the one that rows are sampled on."""

    def __init__(
        self,
        stage: str,
        backbone: Backbone,
        c: Mapping[str, Any],
        mesh: Mesh,
        workdir: pathlib.Path,
    ):
        self._stage, self._c, self._mesh, self._workdir = stage, c, mesh, workdir
        self._read = backbone.renderer.read
        self._image_len = int(backbone.grammar.image_len)
        self._names = short_names(c["reward_funcs"])
        self._watch = FailureWatch(self._names)

    def save_failures(
        self, number: int, questions: Sequence[Question], result: RewardResult
    ) -> dict[str, float]:
        """Writes one line per failed reward; returns their numbers over all processes.

        Raises:
            ValueError: a reward has failed on every sample for several steps.
        """
        if result.failures:
            g = self._c["num_generations"]
            rows = [
                {"id": questions[f.row // g].example.id, **f._asdict()} for f in result.failures
            ]
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_text(self._workdir / "failures" / self._file(number), text)
        failures = meshes.gather(failure_mask(result, self._names), self._mesh)
        self._watch.count(result, failures.all(axis=0))
        counts = failures.sum(axis=0).astype(float).tolist()
        return {f"failures/{name}": n for name, n in zip(self._names, counts, strict=True)}

    def should_save(self, number: int) -> bool:
        """True if the completions of this step are to be written."""
        every = self._c["log_completions_steps"]
        return bool(every) and number % every == 0

    def save_completions(
        self,
        number: int,
        questions: Sequence[Question],
        generations: Generations,
        replies: Sequence[Reply],
        result: RewardResult,
        advantage: np.ndarray,
        image_advantage: np.ndarray | None = None,
        parts: np.ndarray | None = None,
    ) -> None:
        """Writes the completions of a step with rewards and advantages, and their pictures.

        `replies` are those of `generations`, with decoded pictures. The advantages are theirs, [B],
        and those of `parts`, [B R S 3], of process rewards.
        """
        c = self._c
        folder, g = self._workdir / "completions", c["num_generations"]
        shown = prompt_pictures.save(folder, [question.example for question in questions])
        each = [question for question in questions for _ in range(g)]
        given = {"advantage": advantage, "image_advantage": image_advantage}
        given = {name: plain(x) for name, x in given.items() if x is not None}
        names = columns_of(c["reward_funcs"])
        extra = user_columns(result.extra, (*COMPLETION_COLUMNS, *names))
        rows = [
            {
                "id": question.example.id,
                "prompt": self._read(question.row.tokens).text,
                "reply": replies[i].text,
                "answer": question.example.answer,
                **dict(zip(names, plain(result.values[i]), strict=True)),
                **{name: values[i] for name, values in given.items()},
                **({} if parts is None else self._parts(generations.ids[i], i, result, parts[i])),
                "tokens": int(generations.tokens[i]),
                "ended": bool(generations.ended[i]),
                "prompt_pictures": list(shown[i // g]),
                **_boxes(question.example, replies[i].text),
                **{name: column[i] for name, column in extra.items()},
            }
            for i, question in enumerate(each)
        ]
        drawn = [[p.pixels for p in r.pictures if p.pixels is not None] for r in replies]
        write_completions(folder / self._file(number), rows, drawn)
        if c["num_completions_to_print"] and hosts.is_main_process():
            few = rows[: c["num_completions_to_print"]]
            table = completions_table(few, [*names, *given], f"Step {number}")
            rich.console.Console(stderr=True).print(table)

    def _parts(
        self, ids: np.ndarray, row: int, result: RewardResult, advantages: np.ndarray
    ) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """What each part of a completion reads as, its reward, and its advantage."""
        names = [self._names[i] for i in indices(self._c)]
        return {
            "parts": {
                name: [
                    {"text": self._read(ids[start:end]).text, "reward": value, "advantage": found}
                    for (start, end, value), found in zip(
                        result.parts[name][row], plain(column[:, 2]), strict=False
                    )
                ]
                for name, column in zip(names, advantages, strict=True)
            }
        }

    def metrics(
        self,
        generations: Generations,
        replies: Sequence[Reply],
        result: RewardResult,
        times: Mapping[str, float],
        trained: np.ndarray,
    ) -> dict[str, float]:
        """Metrics of the completions and of time, by TRL's names where it has one.

        `replies` are those of `generations`, with decoded pictures. `times` are the seconds of
        "rollout", "paint", "reward" and "train". `trained` is bool [B], False for completions that
        are not in the step's batch.
        """
        pictures = [
            [len(p.ids) == self._image_len for p in r.pictures] for r in generations.replies
        ]
        counts = [(len(row), sum(row)) for row in pictures]
        lengths = generations.tokens, generations.decoded, generations.ended, trained
        each = np.array([*lengths, *zip(*counts, strict=True)]).T
        tokens, decoded, ended, trained, drawn, whole = meshes.gather(each, self._mesh).T
        total, terminated = float(tokens.sum()), tokens[ended > 0]
        found = {
            "completions/mean_length": float(tokens.mean()),
            "completions/min_length": float(tokens.min()),
            "completions/max_length": float(tokens.max()),
            "completions/mean_terminated_length": (
                float(terminated.mean()) if terminated.size else 0.0
            ),
            "completions/clipped_ratio": float(1 - ended.mean()),
            # above 1: rows that ended were decoded until others had ended too
            "completions/decoded_per_token": float(decoded.sum()) / total,
            "image/count": float(drawn.mean()),
            "image/valid_rate": float(whole.sum() / drawn.sum()) if drawn.any() else math.nan,
            "num_tokens": total,
            "tokens_per_second/rollout": total / times["rollout"],
            "tokens_per_second/train": (
                float(tokens[trained > 0].sum()) * self._c["num_iterations"] / times["train"]
            ),
            "step_time": sum(times.values()),
            **{f"time/{name}": seconds for name, seconds in times.items()},
        }
        painted = sum(
            p.pixels is not None or p.clip is not None for r in replies for p in r.pictures
        )
        if painted := sum(meshes.all_gather_objects(painted)):
            found |= {"image/painted": painted, "time/paint_per_image": times["paint"] / painted}
        seconds = {f"time/reward/{name}": value for name, value in result.times.items()}
        return found | mean(meshes.all_gather_objects(seconds))

    def logged(self, result: RewardResult, metrics: Mapping[str, float]) -> dict[str, float]:
        """Metrics that rewards passed to TRL's `log_metric`, beside the trainer's own `metrics`.

        A name of the trainer's belongs to the trainer: such a metric of a reward `f` is `f/name`.
        One that several rewards log is their mean, as in TRL.
        """
        named = user_metrics(result.logged, metrics)
        everywhere = meshes.all_gather_objects(named)
        return mean([{name: value} for each in everywhere for name, value in each])

    def _file(self, number: int) -> str:
        """Each of several processes writes its own file."""
        part = f"_{jax.process_index()}" if jax.process_count() > 1 else ""
        return f"{self._stage}_step_{number:05}{part}.jsonl"


def _boxes(example: Example, text: str) -> dict[str, Any]:
    """Returns the boxes of a reply and of its question, if the task states their frame."""
    return boxes_of(example, text) if isinstance(example.extra.get("space"), Space) else {}


def user_metrics(
    logged: Mapping[str, Mapping[str, float]], taken: Iterable[str]
) -> list[tuple[str, float]]:
    """Returns the metrics that rewards passed to TRL's `log_metric`, by name.

    One whose name is taken by the trainer is `f/name` for a reward `f`.
    """
    return [
        (f"{reward}/{name}", value)
        if name in taken or name in METRICS or name.startswith(PREFIXES)
        else (name, value)
        for reward, values in logged.items()
        for name, value in values.items()
    ]


def user_columns(
    extra: Mapping[str, Mapping[str, Sequence[Any]]], taken: Iterable[str]
) -> dict[str, Sequence[Any]]:
    """Returns the columns that rewards passed to TRL's `log_extra`, by name.

    One whose name is taken by the trainer or by an earlier reward is `f/name` for a reward `f`.
    """
    found: dict[str, Sequence[Any]] = {}
    for reward, columns in extra.items():
        for name, column in columns.items():
            found[free_name(name, {*taken, *found}, reward)] = column
    return found


def mean(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over processes; the maximum of times, because the other processes wait."""
    found: dict[str, list[float]] = {}
    for name, value in (item for each in metrics for item in each.items()):
        found.setdefault(name, []).append(value)
    return {
        name: max(values) if name.startswith("time/") else sum(values) / len(values)
        for name, values in found.items()
    }
