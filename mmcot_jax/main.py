"""Flags -> config -> stages, in order.

    python -m mmcot_jax.main --config configs/m2m.py:tiny --workdir runs/m2m

The processes that draw puzzles import this file again, so it imports heavy modules only to run.
"""

import contextlib
import json
import pathlib
import shlex
import sys
from collections.abc import Sequence

from ml_collections import ConfigDict

from mmcot_jax import config, errors, files, huge_pages, signals
from mmcot_jax.resume import FINISHED

NOTHING_TO_SAVE = "preempted: there was nothing to save; the same command resumes"
"""A line for a signal during the start-up, or between two stages."""


def main(argv: Sequence[str]) -> int:
    """Runs a config; returns 2, with one line on standard error, if the input is at fault."""
    command = shlex.join(("python", "-m", "mmcot_jax.main", *argv))
    return errors.run_command(lambda: run(*config.parse_args(argv), command))


def run(c: ConfigDict, workdir: pathlib.Path, command: str = "") -> None:
    """Runs all stages of a config in `workdir`; resumes from the last checkpoint.

    Every process of a run calls it with the same config and the same, shared, `workdir`. SIGTERM
    to any process checkpoints and stops all of them. A completed run writes an empty file
    `finished`; the same config again only shows its results. `command` is the command line, for
    config.json.

    Raises:
        ValueError: a fault of the config, the data or the weights, in one line.
    """
    from mmcot_jax import finished, hosts, lock, resume, stages, trackers
    from mmcot_jax.main_process import on_main_process

    stages.check(c)
    hosts.initialize()
    hosts.check_same_config(config.to_json(c))
    with contextlib.ExitStack() as stack:
        preempted = stack.enter_context(hosts.PreemptionNotice())

        tracker, project = (c.get("log", {}).get(x, "") for x in ("tracker", "project"))

        def take_workdir() -> resume.Start:
            stack.enter_context(lock.hold(workdir))
            trackers.check(tracker)
            start = resume.check(workdir, c)
            files.clean_leftovers(workdir)
            return start

        start = on_main_process(take_workdir)
        if finished.show(c, workdir, bool(start and start.finished)):
            return
        try:
            run = stages.Run(c, workdir, preempted)
            if start:  # in one process, now that it can be run
                resume.write(workdir, c, start, command)
                (workdir / FINISHED).unlink(missing_ok=True)
                plain = json.loads(config.to_json(c))
                stack.enter_context(trackers.track(tracker, project, workdir, plain))
            stages.run_all(run)
        except hosts.Preempted as notice:
            if hosts.is_main_process():
                print(f"preempted: {notice}; the same command resumes", file=sys.stderr)
            return
        if hosts.is_main_process():
            files.write_text(workdir / FINISHED, "")


if __name__ == "__main__":
    huge_pages.use()
    signals.handle(NOTHING_TO_SAVE, status=0)  # before jax: it takes a second to import
    from mmcot_jax import hosts

    hosts.run_and_exit(main, sys.argv[1:])
