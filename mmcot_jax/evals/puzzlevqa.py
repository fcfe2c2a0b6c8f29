"""Scores answered puzzles by both parsers, and lays out the study's table of accuracies by kind.

A task's results are `{"strict": {"accuracy", "in_domain", "out_of_domain", "kinds"}, "reference":
...}`; a run's `results.json` holds them under the task's name.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.table import Column, Table

from mmcot_jax.evals import metrics
from mmcot_jax.example import Answered

LABELS = {"in_domain": "ID", "out_of_domain": "OOD"}
"""Names of the domains in the study's table."""


def summarize(answered: Sequence[Answered]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns results by parser, as in `results.json`, and one row a puzzle, for completions."""
    kinds = [a.example.extra["kind"] for a in answered]
    domains = [metrics.DOMAINS[a.example.extra["domain"] == "out"] for a in answered]
    rows = _rows(answered)
    scored = {parser: metrics.puzzle(rows, parser) for parser in metrics.PARSERS}
    results = {p: metrics.by_kind(kinds, domains, s.correct) for p, s in scored.items()}
    strict = scored["strict"]
    kept = [
        {
            "id": a.example.id,
            "kind": kind,
            "domain": domain,
            "prompt": a.prompt,
            "reply": a.reply.text,
            "options": list(a.example.extra["options"]),
            "answer": a.example.answer,
            "letter": letter,
            "correct": correct,
            "tokens": a.tokens,
            "ended": a.ended,
        }
        for a, kind, domain, letter, correct in zip(
            answered, kinds, domains, strict.letters, strict.correct, strict=True
        )
    ]
    return results, kept


def correct(answered: Sequence[Answered]) -> tuple[bool, ...]:
    """Returns whether each answer is right by the strict parser."""
    return metrics.puzzle(_rows(answered), "strict").correct


def answers(answered: Sequence[Answered]) -> tuple[str | None, ...]:
    """Returns the letter that each reply states last, or None."""
    return metrics.puzzle(_rows(answered), "strict").letters


def _rows(answered: Sequence[Answered]) -> list[metrics.Choice]:
    return [
        metrics.Choice(
            options=tuple(a.example.extra["options"]),
            answer=a.example.extra["answer_text"],
            reply=a.reply.text,
            prompt=a.prompt,
        )
        for a in answered
    ]


# ---- the study's Table 1 -------------------------------------------------------------------------


class Line(NamedTuple):
    """A line of the table."""

    name: str
    domain: str
    cells: tuple[str, ...]
    """One for each column of the layout."""
    mean: bool = False
    """True if the line averages others."""


class Layout(NamedTuple):
    """The cells of the table."""

    columns: tuple[str, ...]
    """"run parser", in the order of the runs."""
    lines: tuple[Line, ...]
    """Trained kinds, their mean, the other kinds, their mean, the mean of all kinds."""


def layout(runs: Mapping[str, Mapping[str, Any]], task: str = "puzzlevqa") -> Layout:
    """Returns the study's Table 1: kinds down, a column for each run and parser.

    Accuracies have two decimals, means over kinds have four; "-" is a kind that a run lacks.

    Args:
        runs: name of a run -> its results by task, as in its `results.json`.
        task: name of the task in the results.

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
    for domain in metrics.DOMAINS:
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
                    "make one table for each set of trained kinds"
                )
    return domains


def _mean(columns: Mapping[str, Mapping[str, Any]], name: str, key: str, domain: str) -> Line:
    cells = tuple(_cell(numbers[key], 4) for numbers in columns.values())
    return Line(name, domain, cells, mean=True)


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def console(
    runs: Mapping[str, Mapping[str, Any]], task: str = "puzzlevqa", title: str | None = None
) -> Table:
    """Returns the table of `layout` for a rich console.

    Raises:
        ValueError: as `layout`.
    """
    table = layout(runs, task)
    # columns at the left: 0.90 and the mean 0.2745 then align at the decimal point
    drawn = Table(Column("puzzle", no_wrap=True), "domain", *table.columns, title=title)
    for line in table.lines:
        style = "bold" if line.mean else None
        drawn.add_row(line.name, line.domain, *line.cells, style=style, end_section=line.mean)
    return drawn


def markdown(table: Layout) -> str:
    """Returns a layout in GitHub's Markdown, means in bold."""
    rows = [("puzzle", "domain", *table.columns), ("---",) * (2 + len(table.columns))]
    for line in table.lines:
        cells = (line.name, line.domain, *line.cells)
        rows.append(tuple(f"**{c}**" if line.mean and c else c for c in cells))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
