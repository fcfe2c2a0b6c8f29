"""The table of results, in the study's Table 1 layout: kinds down, runs across. No jax.

A run's results are nested by task, as in its `results.json`:
`{"puzzlevqa": {"strict": {"accuracy", "in_domain", "out_of_domain", "kinds"}, "reference": ...}}`.
"""

import statistics
from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.table import Table

from mmcot_jax.evals.metrics import DOMAINS

LABELS = {"in_domain": "ID", "out_of_domain": "OOD"}
"""How the study's table names the domains."""


class Line(NamedTuple):
    """One line of the table."""

    name: str
    domain: str
    cells: tuple[str, ...]
    """One per column of the layout."""
    mean: bool = False
    """True where the line averages others."""


class Layout(NamedTuple):
    """A table as text, before it is drawn."""

    columns: tuple[str, ...]
    """"run parser", in the order of the runs."""
    lines: tuple[Line, ...]
    """Trained kinds, their mean, the other kinds, their mean, the mean of all kinds."""


def layout(runs: Mapping[str, Mapping[str, Any]], task: str = "puzzlevqa") -> Layout:
    """The cells: accuracies to two decimals, means over kinds to four, "-" where a run has none.

    Args:
        runs: name of a run -> its results, one column per parser.
        task: which task of the results.

    Raises:
        ValueError: no run, a run without the task, or runs trained on different kinds.
    """
    if not runs:
        raise ValueError("no run to tabulate: give at least one")
    for run, results in runs.items():
        if task not in results:
            raise ValueError(f"run {run!r} has no results of {task}: it has {', '.join(results)}")
    columns = {
        f"{run} {parser}": numbers
        for run, results in runs.items()
        for parser, numbers in results[task].items()
    }
    domains = _domains(columns)
    lines: list[Line] = []
    for domain in DOMAINS:
        kinds = [kind for kind in domains if domains[kind] == domain]
        for kind in kinds:
            cells = (_cell(c["kinds"].get(kind, {}).get("accuracy"), 2) for c in columns.values())
            lines.append(Line(kind, LABELS[domain], tuple(cells)))
        if kinds:
            lines.append(_mean(columns, "mean", domain, LABELS[domain]))
    lines.append(_mean(columns, "mean of all kinds", "accuracy", ""))
    return Layout(tuple(columns), tuple(lines))


def _domains(columns: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    domains: dict[str, str] = {}
    for column, numbers in columns.items():
        for kind, entry in numbers["kinds"].items():
            if domains.setdefault(kind, entry["domain"]) != entry["domain"]:
                raise ValueError(
                    f"{kind} is {entry['domain']} in {column!r} and {domains[kind]} before it: "
                    "make one table per set of trained kinds"
                )
    return domains


def _mean(columns: Mapping[str, Mapping[str, Any]], name: str, key: str, domain: str) -> Line:
    cells = tuple(_cell(numbers[key], 4) for numbers in columns.values())
    return Line(name, domain, cells, mean=True)


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def console(table: Layout, title: str | None = None) -> Table:
    """The table for a rich console."""
    drawn = Table(title=title)
    drawn.add_column("puzzle", no_wrap=True)
    drawn.add_column("domain")
    for column in table.columns:
        drawn.add_column(column)  # left: 0.90 and the mean 0.2745 then share their decimal point
    for line in table.lines:
        style = "bold" if line.mean else None
        drawn.add_row(line.name, line.domain, *line.cells, style=style, end_section=line.mean)
    return drawn


def markdown(table: Layout) -> str:
    """The same table in GitHub's Markdown, means in bold."""
    rows = [("puzzle", "domain", *table.columns), ("---",) * (2 + len(table.columns))]
    for line in table.lines:
        cells = (line.name, line.domain, *line.cells)
        rows.append(tuple(f"**{c}**" if line.mean and c else c for c in cells))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def numbers(runs: Mapping[str, Mapping[str, Any]]) -> Table:
    """Results of any shape for a rich console: every number by its place, a column for each run."""
    columns = [dict(flat(results)) for results in runs.values()]
    drawn = Table("metric", *runs)
    for name in {name: None for column in columns for name in column}:
        drawn.add_row(name, *(_number(column.get(name)) for column in columns))
    return drawn


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, int) else f"{value:.4f}"


def flat(results: Mapping[str, Any], above: str = "") -> list[tuple[str, int | float]]:
    """Every number of nested results, named by its place: `shapes/boxes/iou`."""
    found: list[tuple[str, int | float]] = []
    for name, value in results.items():
        if isinstance(value, Mapping):
            found += flat(value, f"{above}{name}/")
        elif isinstance(value, int | float):
            found.append((f"{above}{name}", value))
    return found


class Spread(NamedTuple):
    """One number of several runs."""

    n: int
    """Runs."""
    mean: float
    std: float
    """The sample deviation, over n - 1."""


def spreads(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Spread]:
    """Every number of runs that differ in their seed alone, by its place.

    Raises:
        ValueError: fewer than two runs, a number that one of them lacks, or no number.
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
    return {
        name: Spread(len(those), statistics.fmean(those), statistics.stdev(those))
        for name, those in values.items()
    }
