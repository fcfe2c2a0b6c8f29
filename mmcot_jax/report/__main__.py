"""Makes a page of runs, to read in a browser without a server or a network.

    python -m mmcot_jax.report [RUN...] --out DIR [--study FOLDER] [--title TEXT]

DIR/index.html has the runs' curves, a table of their results with mean and deviation over runs, and
a reader of chains: words, drawn pictures in their places, boxes over the question's picture,
rewards, the group of a chain side by side. The folder can be moved or sent whole. The tables are in
tables.md and tables.tex too. For runs with a series of checkpoints, made by main with
--config.eval.checkpoints=all, series.png and series.svg are what Figure 4 is in the study.
The judge's verdicts are shown where `python -m mmcot_jax.judge RUN` was there, and RUN may be the
folder of a baseline.

`--study` adds the tables and Figure 4 of the study, as printed and computed anew from its stored
replies: FOLDER holds anole/, qwen_7b_2_5_vl/ and qwen_3b_2_5_vl/. They are printed as well.
"""

import pathlib
import shutil
import sys
from collections.abc import Sequence

import rich

from mmcot_jax import errors, files
from mmcot_jax.config import Parser, check_folder
from mmcot_jax.report import figure, page, runs, series, study, tables

_NAMES = (
    "index.html", "chains", "pictures", "tables.md", "tables.tex",
    *(f"{name}.{suffix}" for name in ("figure4", "series") for suffix in ("png", "svg")),
)  # fmt: skip
"""All that a report writes into its folder."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 2 after one line on standard error if it cannot."""
    return errors.run_command(lambda: _report(sys.argv[1:] if argv is None else argv), "report")


def _report(argv: Sequence[str]) -> None:
    parser = Parser(prog="python -m mmcot_jax.report", description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="*", metavar="RUN", help="folders of runs")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the page")
    parser.add_argument("--title", default="Report", help="title of the page")
    parser.add_argument("--study", metavar="FOLDER", help="the study's stored replies")
    given = parser.parse_args(argv)
    out = check_folder("--out", given.out)
    _check_out(out, given.runs)
    if not given.runs and not given.study:
        raise ValueError("nothing to report; give folders of runs, or --study FOLDER")
    found = runs.read([check_folder("RUN", run) for run in given.runs])
    replies = check_folder("--study", given.study) if given.study is not None else None
    theirs = study.tables(replies) if replies else []
    ours = (tables.results_tables, tables.ablation_tables, series.tables)
    every = [*(table for make in ours for table in make(found)), *theirs]
    with files.atomic_folder(out) as folder:
        made, count = page.write(folder, found, every, given.title)
        for name, form in (("tables.md", tables.markdown), ("tables.tex", tables.latex)):
            text = "\n".join(map(form, every))
            (folder / name).write_text(text, encoding="utf-8", errors="replace")
        if replies:
            lines, dashed = study.figure4_lines(replies)
            theirs_by_run = {name: {"study": points} for name, points in lines.items()}
            figure.draw(folder / "figure4", theirs_by_run, dashed, series.X_LABEL)
        if points := series.figure_lines(found):
            figure.draw(folder / "series", points, {}, series.X_LABEL, "score, %")
        size = made.stat().st_size
        if out.exists():
            shutil.rmtree(out.resolve())  # the earlier report, once this one is complete
    for table in theirs:
        rich.print(tables.console(table))
    print(f"{out / 'index.html'}: {len(found)} runs, {count:,} chains, {size / 1e6:.1f} MB")


def _check_out(out: pathlib.Path, folders: Sequence[str]) -> None:
    """Checks that nothing but an earlier report is replaced.

    Raises:
        ValueError: the folder holds other files, a run, or the working directory.
    """
    inside = [text for text in (*folders, ".") if out.resolve() in _and_parents(text)]
    if inside:
        what = "the working directory" if inside[0] == "." else inside[0]
        raise ValueError(
            f"--out {out} holds {what}, and is replaced as a whole; give another folder"
        )
    there = sorted(path.name for path in out.iterdir()) if out.exists() else []
    others = [name for name in there if name not in _NAMES]
    made = out / "index.html"
    if there and (others or not made.is_file() or b"reportChunk" not in made.read_bytes()):
        shown = f" ({', '.join(others[:3])})" if others else ""
        raise ValueError(
            f"{out} holds other files{shown}; give a new folder, or one of an earlier report"
        )


def _and_parents(text: str) -> list[pathlib.Path]:
    path = pathlib.Path(text).resolve()
    return [path, *path.parents]


if __name__ == "__main__":
    sys.exit(main())
