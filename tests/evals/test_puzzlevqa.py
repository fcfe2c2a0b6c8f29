"""Puzzles scored by kind and domain, and the study's table as text, on a console, in Markdown."""

import io

import pytest
from rich.console import Console

from mmcot_jax.evals.metrics import by_kind
from mmcot_jax.evals.puzzlevqa import Line, console, correct, layout, markdown, summarize
from mmcot_jax.example import Answered, Example, Reply


def answered(kind, domain, number, reply):
    extra = {"kind": kind, "domain": domain, "options": ("4", "8"), "answer_text": "8"}
    example = Example(f"{kind}/test/{number:05}", ("?",), "B", (), extra)
    return Answered(example, Reply((reply,)), "4 or 8?", tokens=7, ended=True)


ANSWERED = [
    answered("venn", "out", 0, "Therefore, among (A) (B), the answer is: (B)."),
    answered("venn", "out", 1, "Therefore, among (A) (B), the answer is: (A)."),
    answered("triangle", "in", 0, "Therefore, among (A) (B), the answer is: (B)."),
]


def test_results_are_by_parser_kind_and_the_domain_of_the_example():
    results, rows = summarize(ANSWERED)
    assert results["strict"] == {
        "accuracy": 0.75,
        "in_domain": 1.0,
        "out_of_domain": 0.5,
        "kinds": {
            "venn": {"accuracy": 0.5, "n": 2, "domain": "out_of_domain"},
            "triangle": {"accuracy": 1.0, "n": 1, "domain": "in_domain"},
        },
    }
    assert list(results) == ["strict", "reference"]
    assert rows[1] == {
        "id": "venn/test/00001",
        "kind": "venn",
        "domain": "out_of_domain",
        "prompt": "4 or 8?",
        "reply": "Therefore, among (A) (B), the answer is: (A).",
        "options": ["4", "8"],
        "answer": "B",
        "letter": "A",
        "correct": False,
        "tokens": 7,
        "ended": True,
    }
    assert correct(ANSWERED) == (True, False, True)


KINDS = ("venn", "triangle", "grid_number_color")
DOMAINS = ("out_of_domain", "in_domain", "in_domain")


def results(*correct):
    return {"puzzlevqa": {"strict": by_kind(KINDS, DOMAINS, correct)}}


def test_trained_kinds_come_first_and_means_follow_their_kinds():
    table = layout({"tiny": results(False, True, False), "tiny-text": results(True, True, True)})
    assert table.columns == ("tiny strict", "tiny-text strict")
    assert table.lines == (
        Line("triangle", "ID", ("1.00", "1.00")),
        Line("grid_number_color", "ID", ("0.00", "1.00")),
        Line("mean", "ID", ("0.5000", "1.0000"), mean=True),
        Line("venn", "OOD", ("0.00", "1.00")),
        Line("mean", "OOD", ("0.0000", "1.0000"), mean=True),
        Line("mean of all kinds", "", ("0.3333", "1.0000"), mean=True),
    )


def test_each_parser_of_a_run_has_its_column():
    run = results(False, True, False)["puzzlevqa"]["strict"]
    table = layout({"tiny": {"puzzlevqa": {"strict": run, "reference": run}}})
    assert table.columns == ("tiny strict", "tiny reference")


def test_a_kind_one_run_lacks_is_a_dash():
    few = {"puzzlevqa": {"strict": by_kind(["triangle"], ["in_domain"], [True])}}
    lines = layout({"all": results(True, True, True), "few": few}).lines
    assert lines[1] == Line("grid_number_color", "ID", ("1.00", "-"))
    assert lines[4] == Line("mean", "OOD", ("1.0000", "-"), mean=True)


def test_the_markdown_is_a_table_with_bold_means():
    few = {"puzzlevqa": {"strict": by_kind(["triangle"], ["in_domain"], [True])}}
    assert markdown(layout({"tiny": few})) == (
        "| puzzle | domain | tiny strict |\n"
        "| --- | --- | --- |\n"
        "| triangle | ID | 1.00 |\n"
        "| **mean** | **ID** | **1.0000** |\n"
        "| **mean of all kinds** |  | **1.0000** |\n"
    )


def test_the_console_shows_every_cell():
    screen = Console(file=io.StringIO(), width=80)
    screen.print(console({"tiny": results(False, True, False)}, title="PuzzleVQA"))
    shown = screen.file.getvalue()
    for words in ("PuzzleVQA", "tiny strict", "triangle", "OOD", "0.5000", "mean of all kinds"):
        assert words in shown


def test_runs_that_do_not_fit_one_table_are_errors():
    with pytest.raises(ValueError, match="no run to tabulate"):
        layout({})
    with pytest.raises(ValueError, match="run 'tiny' has no results of resq: it has puzzlevqa"):
        layout({"tiny": results(True, True, True)}, task="resq")
    other = {"puzzlevqa": {"strict": by_kind(["venn"], ["in_domain"], [True])}}
    with pytest.raises(ValueError, match="venn is in_domain in 'b strict' and out_of_domain"):
        layout({"a": results(True, True, True), "b": other})
