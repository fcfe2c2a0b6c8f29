"""Pictures of a run's questions, from the data that its config names. Host only, no jax.

A run stores its replies and the pictures in them. The pictures of the questions stay in the data,
which may be gigabytes.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from mmcot_jax import tasks
from mmcot_jax.example import Example
from mmcot_jax.report.runs import Run


def read_pictures(run: Run, file: str, ids: Collection[str]) -> dict[str, list[np.ndarray]]:
    """Returns the pictures, uint8 [H W 3], of the questions of a file of completions, by id.

    Args:
        run: the run.
        file: such as "eval", "eval_sft_shapes" or "grpo_step_00020".
        ids: the questions; one that the data does not have is left out.

    Raises:
        ValueError: the config names no data; or as the task, if the data is not there.
    """
    if "data" not in run.config:
        raise ValueError(f"{run.folder / 'config.json'} names no data; it is not one of a run")
    wanted, found = set(ids), {}
    for example in _examples(run.config, file):
        if not wanted:
            break
        if example.id in wanted:
            found[example.id] = [part for part in example.prompt if isinstance(part, np.ndarray)]
            wanted.remove(example.id)
    return found


def _examples(config: Mapping[str, Any], file: str) -> Iterator[Example]:
    data, evaluation = config["data"], config.get("eval", {})
    if file.startswith("grpo_step"):
        group = data["grpo"]
    else:
        sets = evaluation.get("sets") or {}
        named = [name for name in sets if file.endswith(f"_{name}")]
        # of gqa and my_gqa the longer one
        group = sets[max(named, key=len)] if named else evaluation["data"]
    name = group.get("task", data["task"])
    task = tasks.get(name)
    if not file.startswith("grpo_step") and hasattr(task, "eval_options"):
        group = task.eval_options(group, evaluation, tasks.training_sets(data, name))
    # without workers, and without a bar
    group = {k: v for k, v in group.items() if k not in task.COSMETIC_OPTIONS}
    shared = {option: data.get(option) for option in ("on_bad_record", "max_image_pixels")}
    _, options = tasks.resolve(name, group, shared)
    return task.stream(**options)
