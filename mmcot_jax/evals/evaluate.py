"""Answers and judges evaluation sets; writes and shows the results."""

import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from mmcot_jax import mesh as meshes
from mmcot_jax import trackers
from mmcot_jax.evals import harness, needs_images, picture_ablation, table
from mmcot_jax.evals.answer import answer, decoded_pictures, lengths
from mmcot_jax.evals.continuation import ablate
from mmcot_jax.example import Example
from mmcot_jax.hosts import is_main_process, never_preempted
from mmcot_jax.log import Log, write_completions, write_json
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.types import Backbone, Variables

OTHER_GROUPS = ("eval", "policy", picture_ablation.GROUP)
"""Groups of results.json beside those of the sets."""


class EvalSet(NamedTuple):
    """Examples, and the module of `evals` that judges their answers."""

    examples: Sequence[Example]
    judge: ModuleType


def evaluate(*given: Any, workdir: pathlib.Path, after: str = "", **options: Any) -> None:
    """Answers and judges all sets as `results_of`, and writes results{after}.json."""
    results = results_of(*given, workdir=workdir, after=after, **options)
    if is_main_process():
        write_json(_path(workdir, after), results)
        numbers = dict(table.flat(results))
        trackers.current().scalars(f"results{after}", results["policy"]["step"], numbers)


def results_of(
    backbone: Backbone,
    variables: Variables,
    sets: Mapping[str, EvalSet],
    c: Mapping[str, Any],
    *,
    mesh: Mesh,
    key: jax.Array,
    workdir: pathlib.Path,
    policy: Mapping[str, Any],
    after: str = "",
    preempted: Callable[[], bool] = never_preempted,
) -> dict[str, Any]:
    """Answers and judges all sets; writes completions/eval{after}*.jsonl, returns the results.

    The formats of `eval.sample_formats` are written to samples{after}/.

    `c` is the config's group `eval`, see `answer.answer`. The results name the weights as
    `policy`, plain JSON: their stage, step and checkpoint. With `picture_ablation` the chains with
    pictures are also continued from these, see `continuation.ablate`.

    Raises:
        Preempted: `preempted()` returned True; the next run answers again.
    """
    results, statistics, ablated = {}, {}, {}
    where = {"mesh": mesh, "key": key, "preempted": preempted}
    for name, (examples, judge) in sets.items():
        stage = f"eval{after}_{name}" if c.get("sets") else f"eval{after}"
        batches = -(-len(examples) // c["batch_size"])
        folder = workdir / "completions"
        with Log(workdir, stage, batches, process_index=jax.process_index()) as log:
            options = where | {"log": log, "pictures_to": folder}
            options["gather_images"] = needs_images(judge)
            answered = answer(backbone, variables, examples, c, **options)
        results[name], rows = judge.summarize(answered)
        rows = [
            {**row, "prompt_pictures": list(a.prompt_pictures)}
            for row, a in zip(rows, answered, strict=True)
        ]
        pictures = [decoded_pictures(backbone, a.reply) for a in answered]
        write_completions(
            folder / f"{stage}.jsonl", rows, pictures, process_index=jax.process_index()
        )
        if is_main_process():
            harness.write(
                c.get("sample_formats", ()),
                workdir / f"samples{after}",
                run=workdir.resolve().name,
                name=name,
                answered=answered,
                rows=rows,
            )
        statistics[name] = lengths(answered)
        if c.get("picture_ablation"):
            given = backbone, variables, examples, answered, judge, c
            ablated[name] = ablate(*given, workdir=workdir, stage=stage, **where)
    results["eval"] = statistics if c.get("sets") else next(iter(statistics.values()))
    if ablated:
        results[picture_ablation.GROUP] = ablated
    results["policy"] = dict(policy)
    return results


def is_done(
    workdir: pathlib.Path, after: str, policy: Mapping[str, Any], groups: Iterable[str] = ()
) -> bool:
    """True if the results of an evaluation of `policy` are there; all processes return the same.

    They must have all of `groups`, such as the names of sets.
    """
    results = read(workdir, after) or {"policy": None}
    done = results.get("policy", policy) == policy
    done = done and set(groups) <= results.keys()
    return meshes.all_gather_objects(done)[0]


def read(workdir: pathlib.Path, after: str) -> dict[str, Any]:
    """Returns the results of an evaluation; none if the file is gone, or damaged."""
    try:
        return dict(json.loads(_path(workdir, after).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def show(
    workdir: pathlib.Path, stages: Sequence[str], after: str, sets: Mapping[str, EvalSet]
) -> None:
    """Prints a table with a column for each evaluation of the run so far.

    `stages` are the stages before this evaluation, by which the earlier ones are named. The judge
    of a single set may have a table of its own.
    """
    if not is_main_process():
        return
    paths = {name: _path(workdir, f"_{name}") for name in stages}
    paths[after[1:] or workdir.name] = _path(workdir, after)
    runs = {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}
    (name, (_, judge)), *others = sets.items()
    own = not others and hasattr(judge, "console")
    tables = [results.pop(picture_ablation.GROUP, None) for results in runs.values()]
    table.show(judge.console(runs, name) if own else table.numbers(runs))
    for run, ablated in zip(runs, tables, strict=True):
        if ablated:
            table.show(picture_ablation.console(ablated, f"{run}: continued from the pictures"))


def _path(workdir: pathlib.Path, after: str) -> pathlib.Path:
    return workdir / f"results{after}.json"


def assess_metrics(c: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the metrics that `assess` returns for a config's group `grpo`."""
    g = c["num_generations_eval"]
    return ("accuracy", *(("pass@1", f"pass@{g}") if g > 1 else ()))


def assess(
    backbone: Backbone,
    questions: EvalSet,
    variables: Variables,
    *,
    eval_config: Mapping[str, Any],
    grpo_config: Mapping[str, Any],
    mesh: Mesh,
    key: jax.Array,
) -> dict[str, float]:
    """Returns the accuracy of a policy, and pass@k if `num_generations_eval` is more than 1.

    Accuracy is that of answers as `eval_config` decodes them, greedily only if `greedy` says so.
    The answers of pass@k are sampled with the options of `grpo_config`, but for their length, which
    is that of `eval_config`.
    """

    def correct(c: Mapping[str, Any]) -> np.ndarray:
        needed = needs_images(questions.judge)
        answered = answer(
            backbone, variables, questions.examples, c, mesh=mesh, key=key,
            decode_images=needed, gather_images=needed,
        )  # fmt: skip
        return np.array(questions.judge.correct(answered))

    found = {"accuracy": float(correct(eval_config).mean())}
    g = grpo_config["num_generations_eval"]
    if g > 1:
        sampling = {name: grpo_config[name] for name in Sampling._fields if name in grpo_config}
        right = correct({**eval_config, **sampling, "greedy": False, "num_generations": g})
        right = right.reshape(-1, g)
        found |= {"pass@1": float(right.mean()), f"pass@{g}": float(right.any(1).mean())}
    return found
