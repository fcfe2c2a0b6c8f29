"""A checkpoint series: a run's kept checkpoints, each evaluated once, one row each in series.json.

A row is {"stage", "step", "checkpoint", "total_steps", "start", "results"}: `start` names the
weights that the stage began with, `results` is what results.json is for the last evaluation.
"""

import itertools
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmcot_jax import ckpt, errors, trackers
from mmcot_jax import mesh as meshes
from mmcot_jax.evals import picture_ablation, table
from mmcot_jax.evals.evaluate import EvalSet, results_of
from mmcot_jax.hosts import is_main_process
from mmcot_jax.log import write_json
from mmcot_jax.train.saved import Checkpoint, checkpoints, load_policy
from mmcot_jax.types import Backbone, Variables

ALL = "all"
_KINDS = ("last", "best")


def check(names: Sequence[str], stages: Sequence[str]) -> None:
    """Checks the names of `eval.checkpoints` against the stages that train.

    Raises:
        ValueError: a name that is none of all, STAGE, STAGE:STEP, STAGE:best and STAGE:last.
    """
    if names and not stages:
        raise ValueError(
            f"eval.checkpoints is {tuple(names)} and no stage trains: there will be no checkpoint; "
            "leave it empty, or add a stage that trains to stages"
        )
    for name in names:
        stage, _, which = name.partition(":")
        known = stage in stages and (which in _KINDS or which.isdecimal() or ":" not in name)
        if name != ALL and not known:
            raise ValueError(
                f"eval.checkpoints has {name!r}{errors.suggest(stage, (ALL, *stages))}; give all, "
                f"or STAGE, STAGE:STEP, STAGE:best, STAGE:last of {', '.join(stages)}"
            )


def find(run: pathlib.Path, stages: Sequence[str], names: Sequence[str]) -> list[Checkpoint]:
    """Returns the checkpoints that `names` name, in the order of their stages and steps.

    The weights of a step are there once, even if they are the best and the last.

    Raises:
        ValueError: a name has no checkpoint; lists those there are.
    """
    every = checkpoints(run, stages)
    chosen = {name: [c for c in every if _is_named(c, name, every)] for name in names}
    for name, found in chosen.items():
        if not found:
            there = ", ".join(f"{c.stage}:{c.step} {c.checkpoint}" for c in every) or "none"
            raise ValueError(
                f"eval.checkpoints has {name!r}, which is not in {run / 'checkpoints'}; there are: "
                f"{there}"
            )
    flat = sorted(itertools.chain(*chosen.values()), key=lambda c: c.checkpoint)
    by_step = {(stages.index(c.stage), c.step): c for c in flat}  # "last" after "best"
    return [by_step[key] for key in sorted(by_step)]


def _is_named(found: Checkpoint, name: str, every: Sequence[Checkpoint]) -> bool:
    """True if a name is that of a checkpoint, among all of the run."""
    if name == ALL:
        return True
    stage, _, which = name.partition(":")
    if stage != found.stage:
        return False
    newest = max(c.step for c in every if c.stage == stage and c.checkpoint == found.checkpoint)
    kind = which == found.checkpoint and found.step == newest
    return not which or kind or which == str(found.step)


def evaluate(
    workdir: pathlib.Path,
    chosen: Sequence[Checkpoint],
    backbone: Backbone,
    first: Callable[[], Variables],
    sets: Mapping[str, EvalSet],
    c: Mapping[str, Any],
    **where: Any,
) -> None:
    """Evaluates checkpoints that have no results in series.json, and writes it after each.

    `first` loads the weights that the run started from, on the mesh of `where`, which has the
    arguments of `results_of`. Completions are in completions/eval_STAGE_step_STEP*.jsonl. Rows of
    checkpoints that are no longer there are kept. A damaged checkpoint is left out, with a line on
    standard error.

    Raises:
        Preempted: the next run evaluates this checkpoint again, and none before it.
    """
    wanted = {*sets} | ({picture_ablation.GROUP} if c.get("picture_ablation") else set())
    rows, faults = meshes.all_gather_objects(
        (table.read_series(workdir), [ckpt.find_fault(x.folder) for x in chosen])
    )[0]
    done = {(row["stage"], row["step"]): row for row in rows}
    variables = None
    for found, fault in zip(chosen, faults, strict=True):
        earlier = done.get((found.stage, found.step), {}).get("results", {})
        if wanted <= earlier.keys():
            continue
        if fault:
            _print(f"{found.folder} is damaged: {fault}; left out of {table.SERIES}")
            continue
        _print(f"{found.stage} step {found.step}: evaluating its checkpoint")
        variables = variables or first()
        results = results_of(
            backbone,
            load_policy(workdir, found, variables, where["mesh"]),
            {name: sets[name] for name in sets if name not in earlier} or sets,
            c,
            workdir=workdir,
            policy=found.named(),
            after=f"_{found.stage}_step_{found.step:05}",
            **where,
        )
        done[found.stage, found.step] = _row(found) | {"results": _merge(earlier, results)}
        if is_main_process():
            write_json(workdir / table.SERIES, list(done.values()))
            numbers = dict(table.flat(results))
            trackers.current().scalars(f"{found.stage}_checkpoints", found.step, numbers)


def _row(found: Checkpoint) -> dict[str, Any]:
    saved = ckpt.read_data(found.folder.parent, found.step)
    start = saved.get("start") or {}
    return {
        **found.named(),
        "total_steps": saved.get("total_steps"),
        "start": {name: start.get(name) for name in ("stage", "step")},
    }


def _merge(earlier: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """Returns results with those of sets that were evaluated before."""
    merged = {**earlier, **results}
    for group in ("eval", picture_ablation.GROUP):
        if group in merged:
            merged[group] = {**earlier.get(group, {}), **results.get(group, {})}
    return merged


def _print(line: str) -> None:
    if is_main_process():
        print(line, file=sys.stderr)
