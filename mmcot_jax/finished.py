"""A run that is finished: started again, it shows its results."""

import pathlib
import sys

from ml_collections import ConfigDict

from mmcot_jax import mesh as meshes
from mmcot_jax import stages, tasks
from mmcot_jax.evals import evaluate as evaluation
from mmcot_jax.evals import table
from mmcot_jax.evals.evaluate import EvalSet
from mmcot_jax.evals.sets import eval_sets, evaluator, task_name
from mmcot_jax.hosts import is_main_process


def show(c: ConfigDict, workdir: pathlib.Path, finished: bool) -> bool:
    """Shows the results of a run if it is `finished`; returns False if something of it is gone.

    Neither data nor weights are read. All processes return what the main one finds.
    """
    at = [i for i, name in enumerate(c.stages) if name == "eval"]
    afters = [stages.evaluation_at(c.stages, i)[1] for i in at]
    series_file = [table.SERIES] * bool(c.eval.get("checkpoints"))
    there = finished and all(evaluation.read(workdir, after) for after in afters)
    there = there and all((workdir / name).is_file() for name in series_file)
    there = meshes.all_gather_objects(there)[0]
    trained = (stages.is_trained(c, workdir, stage) for stage in stages.training_stages(c))
    if not there or not all(trained):
        return False
    if is_main_process():
        names = [*(f"results{after}.json" for after in afters), *series_file]
        again = f"; to evaluate again, remove {' and '.join(names)} there" * bool(names)
        print(f"{workdir}: all stages are complete{again}", file=sys.stderr)
    if at:
        judges = {name: evaluator(tasks.get(task_name(c, x))) for name, x in eval_sets(c).items()}
        shown = {name: EvalSet((), judge) for name, judge in judges.items()}
        evaluation.show(workdir, *stages.evaluation_at(c.stages, at[-1]), shown)
    return True
