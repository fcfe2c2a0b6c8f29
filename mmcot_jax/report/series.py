"""Figure 4 of runs: the results of their kept checkpoints, from series.json. Host only, no jax."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmcot_jax.evals.table import flat
from mmcot_jax.report.runs import Curve, Run
from mmcot_jax.report.tables import Table, number

HEADLINES = {
    "official/accuracy": 1, "official/all/accuracy": 1, "short_answer/strict/accuracy": 1,
    "multiple_choice/strict/exam_score": 1, "llava_agreement/strict/accuracy": 1,
    "strict/accuracy": 100, "strict/pass@1": 100, "exact_match": 100,
}  # fmt: skip
"""The number that stands for a set, the first that it has, and its factor to percent."""
X_LABEL = "share of training, %"
Lines = dict[str, dict[str, list[tuple[float, float]]]]
"""Set and number -> run -> points."""


def curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Curve]]:
    """Returns every number of the sets by step, of "STAGE checkpoints"."""
    found: dict[str, dict[str, Curve]] = {}
    for row in sorted(rows, key=lambda row: row["step"]):
        for name, value in flat(row["results"]):
            stage = found.setdefault(f"{row['stage']} checkpoints", {})
            steps, values = stage.setdefault(name, ([], []))
            steps.append(row["step"])
            values.append(float(value))
    return found


def headlines(results: Mapping[str, Any]) -> dict[str, float]:
    """Returns a number in percent for each set that has one of `HEADLINES`."""
    found = {}
    for name, numbers in results.items():
        given = dict(flat(numbers)) if isinstance(numbers, Mapping) else {}
        chosen = next((path for path in HEADLINES if path in given), None)
        if chosen:
            found[f"{name}/{chosen}"] = HEADLINES[chosen] * given[chosen]
    return found


def headline_names(runs: Sequence[Run]) -> list[str]:
    """Returns the names of the numbers in the figure, for the page to show first."""
    return sorted(
        {name for run in runs for row in run.series for name in headlines(row["results"])}
    )


def figure_lines(runs: Sequence[Run]) -> Lines:
    """Returns the points (share of the last stage's training, percent), a panel for each set.

    The weights that the stage began with are at 0.
    """
    lines: Lines = {}
    for run in runs:
        # rows are in the order of their evaluation, which may have begun with the last stage
        evaluated = {row["stage"] for row in run.series}
        stages = run.config.get("stages") or ()
        stage = next((name for name in reversed(stages) if name in evaluated), None)
        own = [row for row in run.series if row["stage"] == stage]
        total = max((row.get("total_steps") or row["step"] for row in own), default=0)
        began = {tuple((row.get("start") or {}).values()) for row in own}
        points = [(100 * row["step"] / total, row) for row in own if total]
        points += [(0.0, row) for row in run.series if (row["stage"], row["step"]) in began]
        for x, row in sorted(points, key=lambda point: point[0]):
            for name, value in headlines(row["results"]).items():
                lines.setdefault(name, {}).setdefault(run.name, []).append((x, value))
    return lines


def tables(runs: Sequence[Run]) -> list[Table]:
    """Returns a table of each run's series: a line for a checkpoint, its sets in percent."""
    found = []
    for run in runs:
        scores = [headlines(row["results"]) for row in run.series]
        names = dict.fromkeys(name for own in scores for name in own)
        if names:
            rows = tuple(
                (
                    f"{row['stage']} {row['step']} {row.get('checkpoint', '')}".strip(),
                    *(number(own.get(name)) for name in names),
                )
                for row, own in zip(run.series, scores, strict=True)
            )
            found.append(Table(f"checkpoints of {run.name}", ("", *names), rows, "In percent."))
    return found
