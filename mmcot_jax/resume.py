"""A run's config.json: what changed between two starts, and refusals of what may not change.

The file is the config of the last start, and `command` its command line. Its list `changes` names
every value that was another one before: {"key", "from", "to", "at": {"stage", "step"}, "time"}.
"""

import datetime
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmcot_jax import ckpt, config, errors, options
from mmcot_jax.config import Tree

FILE = "config.json"
FINISHED = "finished"
"""An empty file in the workdir of a completed run."""
CHANGES, COMMAND = "changes", "command"
"""Keys of the file beside those of the config."""
_LISTED = 8
"""Differences that a refusal names; a config of another paradigm has sixty."""
_DURATION = ("max_steps", "num_train_epochs")
_CHOOSE_BEST = ("eval_steps", "eval_count")
"""Options that change which step `load_best_model_at_end` finds the best."""


class Start(NamedTuple):
    """A start of a run, compared with the one before."""

    resumed: bool
    changed: dict[str, tuple[Any, Any]]
    """Key -> its value before and now."""
    earlier: list[dict[str, Any]]
    """The changes of earlier starts."""
    finished: bool = False
    """True if a run of the same config was completed."""


def check(workdir: pathlib.Path, c: ConfigDict) -> Start:
    """Compares a config with that of the run in the workdir, if one has begun; writes nothing.

    A required option that the last start did not have, and that is off, is no difference.

    Raises:
        ValueError: a difference that changes results; all are listed. A stage that is to be
            shorter than it is, or that another one has already continued from. A completed run
            whose checkpoints are gone: it would train anew.
    """
    path = workdir / FILE
    begun = any((workdir / name).exists() for name in ("checkpoints", "metrics.jsonl"))
    if not path.exists() or not begun:  # a run that failed to load its weights leaves a config
        return Start(False, {}, [])
    try:
        before = json.loads(path.read_text())
        if not isinstance(before, dict):
            raise ValueError(f"it holds {before!r:.40}")
        earlier = before.pop(CHANGES, [])
        before.pop(COMMAND, None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no config ({error}): remove it or the workdir") from None
    changed = {
        key: (then, now)
        for key, (then, now) in config.differing(before, c).items()
        if not (then is config.MISSING and _is_required_and_off(key, now))
    }
    if refused := {
        key: pair
        for key, pair in changed.items()
        if not options.may_change(key) or _chooses_best(c, key)
    }:
        listed = [
            f"{key} is {config.shown(now)} here and {config.shown(then)} there"
            for key, (then, now) in refused.items()
        ]
        differences = "; ".join(errors.shorten(listed, _LISTED))
        raise ValueError(
            f"{workdir} holds a run of another config: {differences}: give another --workdir, or "
            "remove this one"
        )
    if finished := (workdir / FINISHED).is_file():
        _check_checkpoints(workdir, c)
    for stage in dict.fromkeys(c.stages):
        if _changes_length(c.get(stage, {}), stage, changed):
            _check_duration(workdir, c, stage)
    return Start(True, changed, earlier, finished and not changed)


def write(workdir: pathlib.Path, c: ConfigDict, start: Start, command: str = "") -> None:
    """Writes config.json if it is new or changed; called by one process, once the run is built.

    Results of an evaluation after a stage that goes on are removed: they are made again.
    """
    if start.resumed and not start.changed:
        return
    at, now = _position(workdir, c), datetime.datetime.now(datetime.UTC)
    changes = [
        {
            "key": key,
            "from": _json(then),
            "to": _json(new),
            "at": at,
            "time": now.isoformat(timespec="seconds"),
        }
        for key, (then, new) in start.changed.items()
    ]
    for stage in c.stages:
        if _changes_length(c.get(stage, {}), stage, start.changed):
            (workdir / f"results_{stage}.json").unlink(missing_ok=True)
    changes = [*start.earlier, *changes]
    more = {COMMAND: command, CHANGES: changes}
    config.write(workdir / FILE, c, {name: value for name, value in more.items() if value})


def _is_required_and_off(key: str, value: Any) -> bool:
    """Returns whether a value switches off an option that every config gives.

    A run without it began before the option was added. What an optional one means where it is left
    out is up to its reader.
    """
    option = options.find(key)
    value = tuple(value) if isinstance(value, list) else value  # `value` is of JSON's types
    return option is not None and not option.optional and options.is_off(option, value)


def _chooses_best(c: ConfigDict, key: str) -> bool:
    group, _, name = key.rpartition(".")
    return name in _CHOOSE_BEST and bool(c.get(group, {}).get("load_best_model_at_end"))


def _json(value: Any) -> Any:
    return None if value is config.MISSING else value


def _changes_length(c: Tree, stage: str, changed: Mapping[str, tuple[Any, Any]]) -> bool:
    """Returns whether a stage's number of steps changed."""
    now = {name: c[name] for name in _DURATION if name in c}
    then = {name: changed.get(f"{stage}.{name}", (value,))[0] for name, value in now.items()}
    return len({_steps(values) for values in (now, then)}) > 1


def _steps(c: Tree) -> tuple[str, Any]:
    """Returns the option that decides how long a stage is, and its value."""
    steps = c.get("max_steps", 0)
    decides = 0 if isinstance(steps, int) and steps > 0 else 1
    return _DURATION[decides], c.get(_DURATION[decides])


def _check_checkpoints(workdir: pathlib.Path, c: ConfigDict) -> None:
    """Checks that the stages of a completed run that trained have a checkpoint.

    Raises:
        ValueError: one has none.
    """
    trained = [stage for stage in dict.fromkeys(c.stages) if "max_steps" in c.get(stage, {})]
    if gone := [stage for stage in trained if not _saved(workdir, stage)]:
        raise ValueError(
            f"{workdir} holds a completed run without {workdir}/checkpoints/{gone[0]}: bring it "
            f"back, or remove {workdir / FINISHED} to train {gone[0]} anew"
        )


def _check_duration(workdir: pathlib.Path, c: ConfigDict, stage: str) -> None:
    """Checks that a stage can become longer or shorter now.

    Raises:
        ValueError: a later stage has begun from its result, or it has more steps already.
    """
    option, value = _steps(c[stage])
    key = f"{stage}.{option}"
    later = c.stages[c.stages.index(stage) + 1 :]
    if begun := [name for name in later if name != stage and _saved(workdir, name)]:
        raise ValueError(
            f"{key} is {value!r}, which changes the length of {stage}, but {begun[0]} has begun "
            f"from its end: give another --workdir, or remove {workdir}/checkpoints/{begun[0]}*"
        )
    done = _saved(workdir, stage)
    if option == "max_steps" and done > value:
        raise ValueError(
            f"{key} is {value}, but {workdir} has {done} steps of {stage}: give {done} or more"
        )
    if option == "num_train_epochs" and (epoch := _epoch_steps(workdir, stage, done)):
        if done > math.ceil(value * epoch):
            raise ValueError(
                f"{key} is {value}, of {epoch} steps each, but {workdir} has {done} steps of "
                f"{stage}: give {done / epoch:.4g} or more"
            )


def _epoch_steps(workdir: pathlib.Path, stage: str, step: int) -> int:
    """Returns the steps of an epoch that a checkpoint has written down; 0 if it does not say."""
    try:
        return int(ckpt.read_data(workdir / "checkpoints" / stage, step).get("epoch_steps", 0))
    except (OSError, ValueError):  # none, or a damaged one: the stage's start passes over it
        return 0


def _position(workdir: pathlib.Path, c: ConfigDict) -> dict[str, Any]:
    """Returns the stage and the number of steps that a run continues from."""
    begun = [stage for stage in c.stages if _saved(workdir, stage)]
    stage = begun[-1] if begun else next(iter(c.stages), "")
    return {"stage": stage, "step": _saved(workdir, stage)}


def _saved(workdir: pathlib.Path, stage: str) -> int:
    """Returns the number of steps in a stage's last checkpoint."""
    folder = workdir / "checkpoints" / stage
    return max((int(p.name) for p in folder.glob("*") if p.name.isdigit()), default=0)
