"""Numbers that runs leave, whatever their task, and tables of them. No jax."""

import math
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import rich.console
from rich.table import Table

from mmcot_jax import textfile


def numbers(runs: Mapping[str, Mapping[str, Any]]) -> Table:
    """Returns a table of every number in nested results, with a column for each run."""
    columns = [dict(flat(results)) for results in runs.values()]
    drawn = Table("metric", *runs)
    for name in {name: None for column in columns for name in column}:
        drawn.add_row(name, *(_number(column.get(name)) for column in columns))
    return drawn


def show(drawn: Table) -> None:
    """Prints a table. Its names are the data's and a user's: `[/b]` in one is no markup."""
    rich.console.Console(markup=False, emoji=False).print(drawn)


def _number(value: int | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, int) else f"{value:.4f}"


def flat(results: Mapping[str, Any], above: str = "") -> list[tuple[str, int | float]]:
    """Returns every number of nested results with its path, such as `shapes/boxes/iou`.

    The group `policy` names the evaluated weights; it has no result.
    """
    found: list[tuple[str, int | float]] = []
    for name, value in results.items():
        if not above and name == "policy":
            continue
        if isinstance(value, Mapping):
            found += flat(value, f"{above}{name}/")
        elif isinstance(value, int | float):
            found.append((f"{above}{name}", value))
    return found


SERIES = "series.json"
"""A run's file of evaluated checkpoints: rows {"stage", "step", "results", ...}."""


def read_series(run: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the rows of a run's series of checkpoints; none without the file.

    Raises:
        ValueError: the file is damaged.
    """
    path = run / SERIES
    if not path.is_file():
        return []
    try:
        rows = textfile.parse_json(textfile.read_text(path))
        return [
            {
                **row,
                "stage": str(row["stage"]),
                "step": int(row["step"]),
                "total_steps": int(row.get("total_steps") or 0) or None,
                "start": dict(row.get("start") or {}),
                "results": dict(row["results"]),
            }
            for row in rows
        ]
    except (ValueError, TypeError, KeyError, OverflowError):
        raise ValueError(f"{path} is no series of checkpoints; remove it") from None


class Spread(NamedTuple):
    """Mean and deviation of one number over several runs."""

    n: int
    """Number of runs."""
    mean: float
    std: float
    """Sample standard deviation, over n - 1."""


def spread(values: Sequence[float | int]) -> Spread:
    """Returns the spread of two or more values; NaN if one is not finite."""
    if not all(map(math.isfinite, values)):
        return Spread(len(values), math.nan, math.nan)
    return Spread(len(values), statistics.fmean(values), statistics.stdev(values))


def spreads(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Spread]:
    """Returns the spread of every number, by its path, over runs that differ only in their seed.

    Raises:
        ValueError: fewer than two runs, a number that a run lacks, or no number at all.
    """
    if len(runs) < 2:
        raise ValueError(f"a deviation needs at least 2 runs; there is {', '.join(runs) or 'none'}")
    columns = {run: dict(flat(results)) for run, results in runs.items()}
    names = {name: None for column in columns.values() for name in column}
    for run, column in columns.items():
        if missing := [name for name in names if name not in column]:
            raise ValueError(
                f"{run} has no {', '.join(missing[:3])}{', ...' * (len(missing) > 3)}, which other "
                "runs have: give runs of one config"
            )
    if not names:
        raise ValueError(f"no number in {', '.join(runs)}: give results of evaluations")
    values = {name: [column[name] for column in columns.values()] for name in names}
    return {name: spread(those) for name, those in values.items()}
