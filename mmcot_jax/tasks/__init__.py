"""Tasks: data sets as questions, one file or folder each. Host only, no jax.

A task module has

    EVALUATOR = "grounded"             # the module of `evals` that judges its answers
    LAZY_IMAGES = True                 # its images are read when an example is used
    COSMETIC_OPTIONS = ("progress",)   # options that do not change the examples
    def load(...) -> Sequence[Example]: ...
    def stream(...) -> Iterator[Example]: ...

and, if its evaluation set needs more than the options of `eval.data`,

    def eval_options(options, evaluation, trained) -> dict: ...

where `trained` are the options of the training sets.
"""

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from mmcot_jax import modules
from mmcot_jax.example import Example

ConfigGroup = Mapping[str, Any] | ConfigDict
"""Options, as a config or as a dict."""
REQUIRED = ("EVALUATOR", "LAZY_IMAGES", "COSMETIC_OPTIONS", "load", "stream")


def names() -> list[str]:
    """Returns the names of the tasks of this package."""
    return modules.names(__name__)


def get(name: str) -> ModuleType:
    """Returns a task's module, by its name or by the path of a user's own file.

    Raises:
        ValueError: no task of that name, or a module that does not define `REQUIRED`.
    """
    return modules.find(name, __name__, "data.task", REQUIRED)


def resolve(
    name: str, options: Mapping[str, Any], shared: Mapping[str, Any]
) -> tuple[ModuleType, dict[str, Any]]:
    """Returns a task's module and the options to load it with.

    Options of `shared` that are not None are added if the task has them. The option `task` is
    dropped. A task whose `load` and `stream` take `**options` has every option; `stream` is not
    called, and not asked, if it has `LAZY_IMAGES`.

    Raises:
        ValueError: as `get`, an option that the task does not have, or one that it needs; an option
            that one of its functions does not take.
    """
    task = get(name)
    given = {option: value for option, value in options.items() if option != "task"}
    of_load, of_stream = _parameters(task)
    known = {p.name for p in (*of_load, *of_stream) if p.kind is not p.VAR_KEYWORD}
    called = {"load": of_load} if task.LAZY_IMAGES else {"load": of_load, "stream": of_stream}
    takes_all = all(any(p.kind is p.VAR_KEYWORD for p in of) for of in called.values())
    unknown = [option for option in given if option not in known]
    if unknown and not takes_all:
        raise ValueError(
            f"task {name!r} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}"
        )
    given |= {x: v for x, v in shared.items() if v is not None and x in known}
    for function, parameters in called.items():
        left = given.keys() - {p.name for p in parameters}
        if left and not any(p.kind is p.VAR_KEYWORD for p in parameters):
            raise ValueError(
                f"{function} of task {name!r} does not take {', '.join(sorted(left))}; let its "
                "load and stream take the same options"
            )
    required = {p.name for p in (*of_load, *of_stream) if p.default is p.empty and p.name in known}
    if missing := required - given.keys():
        raise ValueError(
            f"task {name!r} needs {', '.join(sorted(missing))}, and the config gives it "
            f"{', '.join(given) or 'no option'}; add it to the group of the task"
        )
    return task, given


def check_example(example: Example) -> None:
    """Checks the types of an example, such as that of a task of one's own.

    Raises:
        ValueError: an answer that is no text, or a text where a tuple is expected, whose characters
            would be taken for its members.
    """
    if not isinstance(example.answer, str):
        raise ValueError(
            f"example {example.id!r} has the answer {example.answer!r:.60}, of type "
            f"{type(example.answer).__name__}; give a text"
        )
    found = {"prompt": example.prompt, "rationale": example.rationale}
    found |= {name: example.extra[name] for name in _SEQUENCES if name in example.extra}
    for name, value in found.items():
        if isinstance(value, str):
            raise ValueError(
                f"example {example.id!r} has the text {value!r:.60} as its {name}; give a tuple, "
                f"({value!r:.20},)"
            )


def check_ids(name: str, examples: Sequence[Example]) -> None:
    """Checks that the questions of an evaluation set have ids of their own.

    Answers with one id count as those to one question, as in pass@k. Sets that are read lazily,
    which are releases with pictures, are not read for this.

    Raises:
        ValueError: two questions have one id.
    """
    if isinstance(examples, list | tuple):
        repeated = [id for id, count in Counter(e.id for e in examples).items() if count > 1]
        if repeated:
            raise ValueError(
                f"evaluation set {name!r}: {len(repeated)} ids are those of several questions, "
                f"such as {repeated[0]!r}; give each question its own"
            )


_SEQUENCES = ("options", "possible_answers", "boxes")
"""What the judges read in `extra`."""


def training_sets(data: ConfigGroup, name: str) -> list[ConfigGroup]:
    """Returns the options of those sets of a config's `data` that train on a task."""
    groups = [data[group] for group in ("train", "grpo") if data.get(group)]
    return [group for group in groups if group.get("task", data["task"]) == name]


def defaults(task: ModuleType) -> dict[str, Any]:
    """Returns the values of a task's options that are not given."""
    both = (p for parameters in _parameters(task) for p in parameters)
    return {p.name: p.default for p in both if p.default is not p.empty}


def _parameters(task: ModuleType) -> list[list[inspect.Parameter]]:
    """The parameters of a task's `load`, and of its `stream`."""
    functions = task.load, task.stream
    return [list(inspect.signature(function).parameters.values()) for function in functions]
