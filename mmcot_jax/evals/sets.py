"""The evaluation's sets, as a config names them."""

from types import ModuleType

from ml_collections import ConfigDict

from mmcot_jax import errors, evals, modules, tasks
from mmcot_jax.config import Tree
from mmcot_jax.evals import picture_ablation
from mmcot_jax.evals.evaluate import OTHER_GROUPS
from mmcot_jax.sample import distribution


def is_evaluated(c: ConfigDict) -> bool:
    """True if a run evaluates: in a stage, or its checkpoints."""
    return "eval" in c.stages or bool(c.eval.get("checkpoints"))


def task_name(c: ConfigDict, options: Tree) -> str:
    """Name of the task of a group of `data`, or of a set of the evaluation."""
    return options.get("task", c.data.task)


def evaluator(task: ModuleType) -> ModuleType:
    """The module that judges the answers of a task."""
    return evals.get(task.EVALUATOR, task.__file__)


def eval_sets(c: ConfigDict) -> dict[str, Tree]:
    """Options of the evaluation's sets by name: `eval.sets`, or the one set of `eval.data`.

    That one is named after its task; a task in a user's file has the name of the file. Sets that
    `eval.only` does not name are left out.

    Raises:
        ValueError: `eval.only` names a set that is not there.
    """
    short = modules.short_name(c.data.task)
    name = c.data.task if short in OTHER_GROUPS else short
    sets = dict(c.eval.get("sets", {})) or {name: c.eval.data}
    only = c.eval.get("only", ())
    for chosen in only:
        errors.check_choice("eval.only", chosen, sets)
    return {chosen: sets[chosen] for chosen in only or sets}


def check_pictures(c: ConfigDict, image_len: int) -> None:
    """Checks that options of pictures have some: of `image_len` tokens, to be continued.

    Raises:
        ValueError: as `distribution.check_pictures`; with `eval.picture_ablation` chains of text
            only, or as `picture_ablation.check`.
    """
    distribution.check_pictures(c.eval.to_dict(), "eval", image_len)
    if not c.eval.get("picture_ablation"):
        return
    judges = {
        name: evaluator(tasks.get(task_name(c, options))) for name, options in eval_sets(c).items()
    }
    picture_ablation.check(image_len, judges)
    if "sft" in c.stages and c.data.train.get("chain") == "textual":
        raise ValueError(
            "eval.picture_ablation is True and data.train.chain is 'textual': these chains have no "
            "picture; set the first to False, or train on chain 'multimodal'"
        )
