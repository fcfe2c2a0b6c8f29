"""Flags -> config -> stages, in order.

    python -m mmcot_jax.main --config configs/m2m.py:tiny --workdir runs/m2m

Drawing processes import this file again, so it imports what is heavy only when it runs.
"""

import pathlib
import sys
from collections.abc import Sequence

from ml_collections import ConfigDict

from mmcot_jax import config, errors

FINISHED = "finished"
"""An empty file in the workdir of a run that is at its end: nothing is left to go on with."""


def main(argv: Sequence[str]) -> int:
    """Runs a config; status 2 and one line on standard error where the input is at fault."""
    return errors.run_command(lambda: run(*config.parse_args(argv)))


def run(c: ConfigDict, workdir: pathlib.Path) -> None:
    """Everything a config asks for, into `workdir`; goes on where an earlier run stopped.

    Of several processes each calls it with the same config and the same, shared, `workdir`. A
    SIGTERM to any of them ends all before the end, with all saved that they go on from.

    Raises:
        ValueError: what is wrong with the config, the data or the weights, in one line.
    """
    from mmcot_jax import hosts, stages

    stages.check(c)
    hosts.join()
    hosts.agree(config.to_json(c))
    with hosts.PreemptionNotice() as preempted:
        config.claim(workdir, c, write=hosts.first())
        try:
            stages.run_all(stages.Run(c, workdir, preempted))
        except hosts.Preempted as notice:
            if hosts.first():
                print(f"preempted: {notice}; the same command goes on", file=sys.stderr)
            return
    if hosts.first():
        (workdir / FINISHED).touch()


if __name__ == "__main__":
    from mmcot_jax import hosts

    hosts.run_and_exit(main, sys.argv[1:])
