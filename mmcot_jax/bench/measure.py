"""Runs GRPO steps of a config with random weights, through the code that trains, and times them.

Axes: N prompts, G samples per prompt, P prompt tokens, T completion tokens.
"""

import contextlib
import itertools
import json
import pathlib
import resource
import tempfile
import time
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmcot_jax import compilation, log, models, stages
from mmcot_jax.bench import questions
from mmcot_jax.compilation import Compilation
from mmcot_jax.plan import programs
from mmcot_jax.train import checks, grpo, policy
from mmcot_jax.types import Backbone, Variables

REWARD = "mmcot_jax.bench.reward:checksum"
FILES = ("weights", "adapter")
"""Ends of the keys of `model` that name files of weights."""


class Steps(NamedTuple):
    """The steps of a benchmark: the first, which compiles, and those after it."""

    ready_s: float
    """Seconds from the start of the process to the end of the first step."""
    ready_cpu_s: float
    """CPU seconds of this process up to there: on one core its seconds without other load."""
    first_s: float
    """Seconds of weights, questions and the first step."""
    first_compilation: Compilation
    wall_s: list[float]
    """Seconds of each measured step, all in."""
    cpu_s: list[float]
    """CPU seconds of this process in each of them, user and system."""
    compilation: Compilation
    """Of the measured steps: 0 programs if all were compiled in the first."""
    metrics: list[dict[str, Any]]
    """What each of them logged; empty on other processes than the first."""
    peak_bytes: float
    """Most memory in use on one device; on a CPU of this process."""


def prepare(c: ConfigDict, steps: int) -> ConfigDict:
    """Returns the config of a benchmark: GRPO alone, a reward that costs nothing, no files.

    Raises:
        ValueError: the config has no stage `grpo`, or as `stages.check`.
    """
    if "grpo" not in c.stages:
        raise ValueError(
            f"stages is {', '.join(c.stages)}: a benchmark runs steps of grpo; give "
            "--config.stages=grpo"
        )
    c = c.copy_and_resolve_references()
    with c.unlocked(), c.ignore_type():
        c.stages = ("grpo",)
        c.grpo.update(
            reward_funcs=(REWARD,),
            reward_weights=(1.0,),
            image_reward_funcs=(),
            process_reward_funcs=(),
            max_steps=steps + 2,  # the run is left before its last step, which would be saved
            warmup_steps=0,
            preflight=False,
            eval_steps=0,
            save_steps=0,
            logging_steps=1,
            log_completions_steps=0,
            load_best_model_at_end=False,
        )
    stages.check(c)
    return c


class _Enough(Exception):
    """The steps are measured."""


class _Watch:
    """Called after every step: takes times and the compiler's counts; ends the run."""

    def __init__(self, steps: int, began: float):
        self._steps, self._began = steps, began
        self.marks = [_mark()]
        self.compiled = [compilation.so_far()]

    def __call__(self) -> bool:
        self.marks.append(_mark())
        self.compiled.append(compilation.so_far())
        if len(self.marks) == self._steps + 2:
            raise _Enough
        return False

    def steps(self, metrics: list[dict[str, Any]]) -> Steps:
        """What was measured, beside what the steps logged."""
        wall, cpu = (
            [after - before for before, after in itertools.pairwise(times)]
            for times in zip(*self.marks, strict=True)
        )
        start, first, last = self.compiled[0], self.compiled[1], self.compiled[-1]
        return Steps(
            ready_s=self.marks[1][0] - self._began,
            ready_cpu_s=self.marks[1][1],
            first_s=wall[0],
            first_compilation=first.since(start),
            wall_s=wall[1:],
            cpu_s=cpu[1:],
            compilation=last.since(first),
            metrics=metrics[1:],
            peak_bytes=_peak_bytes(),
        )


def _mark() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.monotonic(), used.ru_utime + used.ru_stime


def run(c: ConfigDict, mesh: Mesh, rollout_mesh: Mesh, steps: int, began: float) -> Steps:
    """Makes one step that compiles and `steps` measured ones; `c` is that of `prepare`.

    `began` is the time of `time.monotonic` at which the process began.

    Raises:
        ValueError: sizes that do not fit the devices or one another.
    """
    watch = _Watch(steps, began)
    stages.check_batches(c, mesh, rollout_mesh)
    options = c.grpo.to_dict()
    backbone = questions.without_eos(
        programs.build(c.model.to_dict(), learn=c.sft.learn, eos=c.sft.eos)
    )
    sizes = c.plan.prompt_tokens, c.plan.prompt_slots
    rows = questions.make(backbone, options["prompts_per_step"], *sizes)
    checks.check_room(rows, backbone.context, options["max_completion_length"])
    key = jax.random.key(c.seed)
    given = backbone, _random_weights(c, backbone, mesh, key), lambda: grpo.Questions(rows), options
    where = {"mesh": mesh, "rollout_mesh": rollout_mesh, "rollout_keep": c.rollout_keep}
    with tempfile.TemporaryDirectory() as name:
        workdir = pathlib.Path(name)
        with contextlib.suppress(_Enough):
            grpo.run(*given, **where, key=key, seed=c.seed, workdir=workdir, preempted=watch)
        return watch.steps(_logged(workdir))


def _random_weights(c: ConfigDict, backbone: Backbone, mesh: Mesh, key: jax.Array) -> Variables:
    """Draws the weights on the devices, each on its shards; only packaged files are read."""
    model = {
        name: "" if name.endswith(FILES) and not str(value).startswith("packaged:") else value
        for name, value in c.model.to_dict().items()
    }
    variables = models.get(c.model.backbone).load(backbone, model, key, mesh)
    return policy.prepare(
        variables, c.grpo.what, backbone=backbone, alpha=c.model.lora.alpha, key=key, mesh=mesh
    )


def _logged(workdir: pathlib.Path) -> list[dict[str, Any]]:
    path = workdir / log.METRICS
    return [json.loads(line) for line in path.open()] if path.exists() else []


def _peak_bytes() -> float:
    stats = [device.memory_stats() for device in jax.local_devices()]
    if found := [each["peak_bytes_in_use"] for each in stats if each]:
        return float(max(found))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
