"""Tables, and their forms: Markdown, LaTeX, console. Host only, no jax."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import rich.table

from mmcot_jax.evals import picture_ablation
from mmcot_jax.evals.table import flat, spread
from mmcot_jax.report.runs import Run


class Table(NamedTuple):
    """A table; the first column names its rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def markdown(table: Table) -> str:
    """Returns a table in GitHub's Markdown, under a heading."""
    rows = [table.columns, ("---", *("---:" for _ in table.columns[1:])), *table.rows]
    lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
    note = f"\n{table.note}\n" if table.note else ""
    return f"### {table.title}\n\n" + "\n".join(lines) + f"\n{note}\n"


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def latex(table: Table) -> str:
    """Returns a table for LaTeX; it needs the package booktabs."""

    def escape(text: str) -> str:
        return "".join(_LATEX.get(x, x) for x in text).replace("+-", r"$\pm$")

    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(escape, cells)) + r" \\"

    return "\n".join(
        (
            r"\begin{table}",
            rf"\caption{{{escape(table.title)}. {escape(table.note)}}}".replace(". }", "}"),
            rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            r"\toprule",
            line(table.columns),
            r"\midrule",
            *map(line, table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        )
    )


def console(table: Table) -> rich.table.Table:
    """Returns a table for a rich console."""
    drawn = rich.table.Table(title=table.title, caption=table.note or None)
    for number, name in enumerate(table.columns):
        drawn.add_column(name, justify="right" if number else "left")
    for row in table.rows:
        drawn.add_row(*row)
    return drawn


def results_tables(runs: Sequence[Run]) -> list[Table]:
    """Returns a table of every number of the runs' results, one per file of results.

    With several runs it has their mean and sample deviation.
    """
    tables = []
    for file in sorted({name for run in runs for name in run.results}):
        own = [run for run in runs if file in run.results]
        columns = [_numbers(run.results[file]) for run in own]
        several = len(own) > 1
        rows = tuple(
            (name, *(number(c.get(name)) for c in columns), *(_spread(columns, name) * several))
            for name in dict.fromkeys(name for column in columns for name in column)
        )
        head = ("", *(run.name for run in own), *(("mean", "deviation") * several))
        note = "Deviation: of the sample, over the runs that have the number." if several else ""
        tables.append(Table(file, head, rows, note))
    return tables


def _numbers(results: Mapping[str, Any]) -> dict[str, float | int]:
    """The numbers of a file of results; the ablation has a table of its own."""
    return dict(flat({k: v for k, v in results.items() if k != picture_ablation.GROUP}))


def ablation_tables(runs: Sequence[Run]) -> list[Table]:
    """Returns a table of the picture ablation for each file of results that has one."""
    return [
        Table(
            f"{picture_ablation.GROUP}: {run.name}, {file}",
            picture_ablation.COLUMNS,
            tuple(
                cells
                for name, whole in results[picture_ablation.GROUP].items()
                for line, numbers in {name: whole, **whole.get("kinds", {})}.items()
                for cells in picture_ablation.rows(line, numbers)
            ),
            "Chains continued from their own, another chain's or no pictures; 95 % intervals.",
        )
        for run in runs
        for file, results in run.results.items()
        if picture_ablation.GROUP in results
    ]


def _spread(columns: Sequence[Mapping[str, float | int]], name: str) -> tuple[str, str]:
    values = [column[name] for column in columns if name in column]
    if len(values) < 2:
        return "-", "-"
    _, mean, deviation = spread(values)
    return number(mean), number(deviation)


def number(value: float | int | None) -> str:
    """Returns a whole number as it is, another with four decimals, and "-" for none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:g}" if isinstance(value, int) else f"{value:.4f}"
