"""Makes a page of runs, to read in a browser without a server or a network.

    python -m mmcot_jax.report RUN... --out DIR [--title TEXT]

DIR/index.html has the runs' curves, a table of their results with mean and deviation over runs, and
a reader of chains: words, drawn pictures in their places, boxes over the question's picture,
rewards, the group of a chain side by side. The folder can be moved or sent whole.
"""

import shutil
import sys
from collections.abc import Sequence

from mmcot_jax import errors, files
from mmcot_jax.config import Parser, check_folder
from mmcot_jax.report import page, runs


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns 2 after one line on standard error if it cannot."""
    return errors.run_command(lambda: _report(sys.argv[1:] if argv is None else argv), "report")


def _report(argv: Sequence[str]) -> None:
    parser = Parser(prog="python -m mmcot_jax.report", description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs, their --workdir")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the page")
    parser.add_argument("--title", default="Report", help="title of the page")
    given = parser.parse_args(argv)
    out = check_folder("--out", given.out)
    if out.exists() and any(out.iterdir()) and not (out / "index.html").is_file():
        raise ValueError(f"{out} holds other files; give a new folder, or one of an earlier report")
    found = runs.read(given.runs)
    with files.atomic_folder(out) as folder:
        made, count = page.write(folder, found, page.results_tables(found), given.title)
        size = made.stat().st_size
        if out.exists():
            shutil.rmtree(out)  # the earlier report, once this one is complete
    print(f"{out / 'index.html'}: {len(found)} runs, {count:,} chains, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
