"""Tasks: data sets as questions, one file or folder each. Host only, no jax.

A task module has

    EVALUATOR = "grounded"             # a module of `evals` that scores its answers
    LAZY_IMAGES = True                 # its images are read when they are used
    COSMETIC_OPTIONS = ("progress",)   # options that do not change which examples
    def load(...) -> Sequence[Example]: ...
    def stream(...) -> Iterator[Example]: ...

and, if its evaluation set needs more than the options of `eval.data`,

    def eval_options(options, evaluation, train) -> dict: ...
"""

from types import ModuleType

from mmcot_jax import modules

REQUIRED = ("load", "stream")


def names() -> list[str]:
    """Names of the tasks of this package."""
    return modules.names(__name__)


def get(name: str) -> ModuleType:
    """Returns a task's module, by its name or by the path of a user's own file.

    Raises:
        ValueError: no task of that name, or a file that is not a task.
    """
    task = modules.find(name, __name__, "data.task")
    if missing := [field for field in REQUIRED if not hasattr(task, field)]:
        raise ValueError(f"data.task {name!r} is not a task: it has no {', '.join(missing)}")
    return task
