"""What a step of GRPO leaves behind: its chains, what failed in it, its numbers.

Axes: N questions, G samples of each, B = N G rows of this process, R rewards.
"""

import json
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import rich.console
from jax.sharding import Mesh

from mmcot_jax import hosts
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Example, Row
from mmcot_jax.log import completions_table, write_completions, write_text
from mmcot_jax.rewards.pool import FailureWatch, RewardResult, failure_mask
from mmcot_jax.rollout.generate import Generations
from mmcot_jax.train.preflight import Groups, mean
from mmcot_jax.types import Backbone


class Record:
    """The steps of a stage, written into a workdir; `mesh` is the one that rows were sampled on."""

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
        self._failures = FailureWatch(c["reward_funcs"])

    def failures(
        self, number: int, items: Sequence[tuple[Example, Row]], scored: RewardResult
    ) -> dict[str, float]:
        """Writes each sample that a reward could not score; counts them over all processes.

        Raises:
            ValueError: a reward that has scored nothing for several steps.
        """
        if scored.failures:
            g = self._c["num_generations"]
            rows = [{"id": items[f.row // g][0].id, **f._asdict()} for f in scored.failures]
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_text(self._workdir / "failures" / self._file(number), text)
        names = self._c["reward_funcs"]
        faults = meshes.gather(failure_mask(scored, names), self._mesh)
        self._failures.count(scored, faults.all(axis=0))
        return {f"failures/{name}": float(faults[:, i].sum()) for i, name in enumerate(names)}

    def keeps(self, number: int) -> bool:
        """Whether the chains of this step are to be written."""
        every = self._c["log_completions_steps"]
        return bool(every) and number % every == 0

    def chains(
        self,
        number: int,
        items: Sequence[tuple[Example, Row]],
        asked: Generations,
        scored: RewardResult,
        groups: Groups,
    ) -> None:
        """Writes the chains of a step, their pictures painted, with rewards and advantages."""
        c = self._c
        rows = [
            {
                "id": example.id,
                "prompt": self._read(row.tokens).text,
                "reply": reply.text,
                "answer": example.answer,
                **dict(zip(c["reward_funcs"], _plain(values), strict=True)),
                "advantage": _plain([float(advantage)])[0],
                "tokens": int(tokens),
                "ended": bool(end),
            }
            | {name: column[i] for name, column in scored.extra.items()}
            for i, ((example, row), reply, values, advantage, tokens, end) in enumerate(
                zip(
                    [item for item in items for _ in range(c["num_generations"])],
                    asked.replies,
                    scored.values,
                    groups.advantage,
                    asked.tokens,
                    asked.ended,
                    strict=True,
                )
            )
        ]
        drawn = [[p.pixels for p in r.pictures if p.pixels is not None] for r in asked.replies]
        write_completions(self._workdir / "completions" / self._file(number), rows, drawn)
        if c["num_completions_to_print"] and hosts.first():
            few = rows[: c["num_completions_to_print"]]
            table = completions_table(few, [*c["reward_funcs"], "advantage"], f"Step {number}")
            rich.console.Console(stderr=True).print(table)

    def report(
        self, asked: Generations, scored: RewardResult, times: Mapping[str, float]
    ) -> dict[str, float]:
        """What chains were like and how long all took, by TRL's names where it has one.

        `times` are the seconds of "rollout", "reward" and "train".
        """
        pictures = [[len(p.ids) == self._image_len for p in r.pictures] for r in asked.replies]
        counts = [(len(those), sum(those)) for those in pictures]
        each = np.array([asked.tokens, asked.ended, *zip(*counts, strict=True)]).T
        tokens, ended, drawn, whole = meshes.gather(each, self._mesh).T
        written, done = float(tokens.sum()), tokens[ended > 0]
        found = {
            "completions/mean_length": float(tokens.mean()),
            "completions/min_length": float(tokens.min()),
            "completions/max_length": float(tokens.max()),
            "completions/mean_terminated_length": float(done.mean()) if done.size else 0.0,
            "completions/clipped_ratio": float(1 - ended.mean()),
            "image/count": float(drawn.mean()),
            "image/valid_rate": float(whole.sum() / drawn.sum()) if drawn.any() else math.nan,
            "num_tokens": written,
            "tokens_per_second/rollout": written / times["rollout"],
            "tokens_per_second/train": written * self._c["num_iterations"] / times["train"],
            "step_time": sum(times.values()),
            **{f"time/{name}": seconds for name, seconds in times.items()},
        }
        return found | mean(meshes.all_gather_objects(scored.metrics))

    def _file(self, number: int) -> str:
        """Of several processes each writes its own."""
        part = f"_{jax.process_index()}" if jax.process_count() > 1 else ""
        return f"{self._stage}_step_{number:05}{part}.jsonl"


def _plain(values: Iterable[Any]) -> list[float | None]:
    """For JSON, which knows no NaN."""
    return [float(v) if math.isfinite(v) else None for v in values]
