"""Evaluation: answers the questions and judges the answers.

A module that judges answers has

    def summarize(answered) -> tuple[results, rows]: ...   # for results.json and completions/
    def correct(answered) -> tuple[bool, ...]: ...         # for the accuracy that GRPO logs

and, if it reads the pixels of drawn pictures,

    NEEDS_IMAGES = True

for `eval.picture_ablation`

    def answers(answered) -> tuple[str | None, ...]: ...   # as they are compared; None: no answer

and, if it has its own table of results,

    def console(runs, name) -> rich.table.Table: ...   # runs: name of a run -> results of all sets
"""

import pathlib
from types import ModuleType

from mmcot_jax import modules

REQUIRED = ("summarize", "correct")


def needs_images(judge: ModuleType) -> bool:
    """True if a module reads the pixels of the pictures in replies."""
    return bool(getattr(judge, "NEEDS_IMAGES", False))


def names() -> list[str]:
    """Returns the names of the modules of this package that judge answers."""
    return modules.names(__name__, REQUIRED)


def get(name: str, task_file: str | pathlib.Path | None = None) -> ModuleType:
    """Returns the module that judges a task's answers, by its name or the path of a user's file.

    A relative path is relative to the folder of `task_file`, the task that names the module.

    Raises:
        ValueError: no such module, or one that does not define `REQUIRED`.
    """
    key = f"EVALUATOR of {task_file}" if task_file else "EVALUATOR"
    if task_file and modules.is_path(name):
        name = str(pathlib.Path(task_file).parent / name)
    return modules.find(name, __name__, key, REQUIRED)
