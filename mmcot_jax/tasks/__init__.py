"""Tasks: data sets as questions, one file or folder each. Host only, no jax.

A task module has

    EVALUATOR = "grounded"             # the module of `evals` that judges its answers
    LAZY_IMAGES = True                 # its images are read when an example is used
    COSMETIC_OPTIONS = ("progress",)   # options that do not change the examples
    def load(...) -> Sequence[Example]: ...
    def stream(...) -> Iterator[Example]: ...

and, if its evaluation set needs more than the options of `eval.data`,

    def eval_options(options, evaluation, train) -> dict: ...
"""

from types import ModuleType

from mmcot_jax import modules

REQUIRED = ("load", "stream")


def names() -> list[str]:
    """Returns the names of the tasks of this package."""
    return modules.names(__name__)


def get(name: str) -> ModuleType:
    """Returns a task's module, by its name or by the path of a user's own file.

    Raises:
        ValueError: no task of that name, or a module that does not define `REQUIRED`.
    """
    return modules.find(name, __name__, "data.task", REQUIRED)
