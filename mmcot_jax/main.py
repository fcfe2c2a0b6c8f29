"""Flags -> config -> stages, in order.

    python -m mmcot_jax.main --config configs/m2m.py:tiny --workdir runs/m2m

Drawing processes import this file again, so it imports what is heavy only when it runs.
"""

import pathlib
import sys
from collections.abc import Sequence

from ml_collections import ConfigDict

from mmcot_jax import config


def main(argv: Sequence[str]) -> int:
    """Runs a config; status 2 and one line on standard error where the input is at fault."""
    try:
        args = config.parse_args(argv)
        run(args.config, args.workdir)
    except ValueError as error:
        if not config.ours(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(c: ConfigDict, workdir: pathlib.Path) -> None:
    """Everything a config asks for, into `workdir`; goes on where an earlier run stopped.

    Raises:
        ValueError: what is wrong with the config, the data or the weights, in one line.
    """
    from mmcot_jax import stages

    stages.check(c)
    config.claim(workdir, c)
    stages.run(stages.Job(c, workdir))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
