"""Reads what runs leave in their folders: metrics, results, chains. Host only, no jax."""

import collections
import json
import math
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mmcot_jax import textfile
from mmcot_jax.errors import check_choice
from mmcot_jax.evals.table import read_series
from mmcot_jax.rewards import columns_of

POINTS = 1000
"""A curve has at most so many: a longer one is thinned evenly, and keeps its last point."""

BASELINE = ("replies.jsonl", "results.json")
"""Files of the folder that `python -m mmcot_jax.baseline` writes."""

Curve = tuple[list[int], list[float]]
"""Steps, ascending, and a value for each."""


class Run(NamedTuple):
    """A run's folder."""

    name: str
    folder: pathlib.Path
    config: Mapping[str, Any]
    curves: Mapping[str, Mapping[str, Curve]]
    """Stage -> metric -> its curve."""
    results: Mapping[str, Mapping[str, Any]]
    """Name of a file of results, such as `results_sft` -> its numbers, nested."""
    series: Sequence[Mapping[str, Any]] = ()
    """Rows of series.json: {"stage", "step", "results", ...}."""


class Chain(NamedTuple):
    """A reply, as a run's completions hold it."""

    file: str
    """Name of its file, such as `grpo_step_00024`."""
    step: int | None
    """Step of training that sampled it; None for an evaluation."""
    group: int
    """Number of its question among the file's; its replies are adjacent."""
    id: str
    kind: str
    prompt: str
    reply: str
    answer: str
    correct: bool | None
    """None: it is not known, or there is no answer to read."""
    reward: float | None
    """Weighted sum of its rewards; None in an evaluation."""
    facts: Mapping[str, Any]
    """Rewards, advantage, what was read: shown beside the reply."""
    pictures: tuple[pathlib.Path, ...]
    prompt_pictures: tuple[pathlib.Path, ...]
    space: tuple[float, float]
    """Width and height that boxes are given in; zeros without boxes."""
    boxes: tuple[tuple[Any, ...], ...]
    """Label, x0, y0, x1, y1 of each box that the reply states."""
    gold_boxes: tuple[tuple[Any, ...], ...]


def read(folders: Sequence[str | pathlib.Path]) -> list[Run]:
    """Returns the runs of folders, under names that differ.

    Raises:
        ValueError: a folder that holds no run, or a file of it that cannot be read.
    """
    paths = [pathlib.Path(folder) for folder in folders]
    return [_read(path, name) for path, name in zip(paths, _names(paths), strict=True)]


def _names(paths: Sequence[pathlib.Path]) -> list[str]:
    """The shortest ends of the paths that differ."""
    parts = [path.resolve().parts for path in paths]
    if len(set(parts)) < len(parts):
        twice = next(
            str(path) for path, own in zip(paths, parts, strict=True) if parts.count(own) > 1
        )
        raise ValueError(f"{twice} is given twice; name each run once")
    length = 1
    while len({own[-length:] for own in parts}) < len(parts):
        length += 1
    return ["/".join(own[-length:]) for own in parts]


def _read(folder: pathlib.Path, name: str) -> Run:
    if (folder / "config.json").is_file():
        config = _object(folder / "config.json")
    elif all((folder / name).is_file() for name in BASELINE):
        config = {"command": "python -m mmcot_jax.baseline"}
    else:
        raise ValueError(f"{folder} holds no run (no config.json); give a run's --workdir")
    files = sorted(folder.glob("results*.json"))
    results = {file.stem: _object(file) for file in files}
    if (judge := folder / "judge/results.json").is_file():
        results["judge"] = _object(judge)
    curves = read_curves(folder / "metrics.jsonl")
    return Run(name, folder, config, curves, results, read_series(folder))


def _object(path: pathlib.Path) -> dict[str, Any]:
    try:
        value = textfile.parse_json(textfile.read_text(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: a JSON {type(value).__name__}; one object is expected")
    return value


def read_curves(path: pathlib.Path) -> dict[str, dict[str, Curve]]:
    """Returns every metric of a metrics.jsonl; a last line that is incomplete is left out.

    Raises:
        ValueError: another line is broken.
    """
    if not path.is_file():
        return {}
    curves: dict[str, dict[str, Curve]] = {}
    lines = list(textfile.read_lines(path))
    for count, (number, line) in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            stage, step = str(entry["stage"]), int(entry["step"])
        except (ValueError, KeyError, TypeError, OverflowError):
            if count == len(lines):
                break
            raise ValueError(f"{path}:{number} is not a line of metrics; remove it") from None
        if _STEP.search(stage):  # the evaluation of a checkpoint: its speed only
            continue
        for name, value in entry.items():
            if name not in ("stage", "step") and _is_number(value):
                steps, values = curves.setdefault(stage, {}).setdefault(name, ([], []))
                steps.append(step)
                values.append(float(value))
    return {
        stage: {name: _thin(curve) for name, curve in metrics.items()}
        for stage, metrics in curves.items()
    }


def _thin(curve: Curve) -> Curve:
    every = math.ceil(len(curve[0]) / POINTS)
    if every <= 1:
        return curve
    steps, values = (list(reversed(list(reversed(x))[::every])) for x in curve)
    return steps, values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# ---- chains --------------------------------------------------------------------------------------

_STEP = re.compile(r"_step_(\d+)")
_SHOWN = {"id", "kind", "prompt", "reply", "answer", "pictures", "prompt_pictures", "space",
          "boxes", "gold_boxes", "correct", "options", "possible_answers"}  # fmt: skip
"""Fields that have a place of their own beside `facts`, or none."""


def read_chains(run: Run) -> Iterator[Chain]:
    """Yields the chains of a run, file by file: evaluations, then steps of training.

    Raises:
        ValueError: a line that is no chain.
    """
    folder = run.folder / "completions"
    files = sorted(folder.glob("*.jsonl"), key=lambda file: (_step(file) is not None, file.name))
    weights, verdicts = _reward_weights(run.config), _verdicts(run.folder / "judge/judged.jsonl")
    for file in files:
        group, last, samples = -1, None, collections.Counter()
        for number, line in textfile.read_lines(file):
            try:
                record = textfile.parse_json(line)
                check_choice("a chain", type(record).__name__, ("dict",))
                group += record["id"] != last
                last = record["id"]
                verdict = verdicts.get((file.stem, last, samples[last]), {})
                samples[last] += 1
                yield _chain(file, group, record | verdict, weights)
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise ValueError(
                    f"{file}:{number} is not a chain of a run ({type(error).__name__}: {error}); "
                    "remove the line"
                ) from None


def _verdicts(path: pathlib.Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    """What the judge, and people where asked, say of a chain, by file, id and sample."""
    found = {}
    for number, line in textfile.read_lines(path) if path.is_file() else ():
        try:
            row = json.loads(line)
            words = {"aligned": row["aligned"], "people": row.get("human")}
            found[row["set"], row["id"], row["sample"]] = {
                name: {True: "yes", False: "no"}[word]
                for name, word in words.items()
                if word is not None
            }
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path}:{number} is no verdict of the judge; remove it") from None
    return found


def _step(file: pathlib.Path) -> int | None:
    found = _STEP.search(file.stem)
    return int(found[1]) if found else None


def _reward_weights(config: Mapping[str, Any]) -> dict[str, float]:
    """Weights of the rewards by their columns in the completions."""
    group = config.get("grpo") or {}
    names, weights = group.get("reward_funcs", ()), group.get("reward_weights", ())
    return dict(zip(columns_of(names), weights or [1.0] * len(names), strict=False))


def _chain(
    file: pathlib.Path, group: int, record: Mapping[str, Any], weights: Mapping[str, float]
) -> Chain:
    space = record.get("space") or (None, 0, 0)
    return Chain(
        file=file.stem,
        step=_step(file),
        group=group,
        id=str(record["id"]),
        kind=str(record.get("kind", "")),
        prompt=str(record.get("prompt", "")),
        reply=str(record["reply"]),
        answer=str(record.get("answer", "")),
        correct=_correct(record, weights),
        reward=_reward(record, weights),
        facts=_facts(record),
        pictures=_paths(file.parent, record.get("pictures", ())),
        prompt_pictures=_paths(file.parent, record.get("prompt_pictures", ())),
        space=(space[-2], space[-1]),
        boxes=tuple(map(tuple, record.get("boxes", ()))),
        gold_boxes=tuple(map(tuple, record.get("gold_boxes", ()))),
    )


def _paths(folder: pathlib.Path, names: Sequence[str]) -> tuple[pathlib.Path, ...]:
    """Paths of a run's pictures, given from its completions; a `ValueError` for any other file."""
    folder = pathlib.Path(os.path.normpath(folder.absolute()))
    paths = [pathlib.Path(os.path.normpath(folder / name)) for name in names]
    for name, path in zip(names, paths, strict=True):
        if pathlib.PurePath(name).is_absolute() or folder.parent not in path.parents:
            raise ValueError(f"the picture {name!r} is outside the run")
    return tuple(paths)


def _reward(record: Mapping[str, Any], weights: Mapping[str, float]) -> float | None:
    """The weighted sum of the rewards, where the record has them."""
    given = [w * record[name] for name, w in weights.items() if _is_number(record.get(name))]
    return sum(given) if given and "advantage" in record else None


def _correct(record: Mapping[str, Any], weights: Mapping[str, float]) -> bool | None:
    """What the evaluation says, or in training the first reward: right from 1 on, wrong at 0."""
    if "correct" in record:
        return record["correct"] if record["correct"] in (True, False) else None
    first = record.get(next(iter(weights), ""))
    return first >= 1 if _is_number(first) and (first >= 1 or first <= 0) else None


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown beside a reply; of a part its reward and advantage: "0.5 (+1.2), 0 (-0.4)"."""
    facts = {name: _plain(value) for name, value in record.items() if name not in _SHOWN}
    if "advantage" not in record or not isinstance(record.get("parts"), Mapping):
        return facts
    del facts["parts"]
    return facts | {
        f"{name}/parts": ", ".join(
            f"{part['reward']:.3g} ({part['advantage'] or 0:+.2g})" for part in parts
        )
        for name, parts in record["parts"].items()
    }


def _plain(value: Any) -> Any:
    """A number or a word to show."""
    return value if isinstance(value, int | float | str) or value is None else json.dumps(value)
