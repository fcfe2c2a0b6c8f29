"""Draws, renders and tokenises a config's training rows once, into a store that pods read.

python -m mmcot_jax.prepare --config configs/m2m.py --workdir STORE
python -m mmcot_jax.main --config configs/m2m.py --config.data.store=STORE --workdir runs/m2m
"""

import collections
import contextlib
import pathlib
import sys
from collections.abc import Sequence

from ml_collections import ConfigDict

from mmcot_jax import config, errors, signals


def main(argv: Sequence[str]) -> int:
    """Writes the store; returns 2, with one line on standard error, if the input is at fault."""
    return errors.run_command(lambda: prepare(*config.parse_args(argv)))


def prepare(c: ConfigDict, folder: pathlib.Path) -> None:
    """Writes the training rows of a config into a store in `folder`.

    Raises:
        ValueError: a fault of the config, the data or the weights.
    """
    from mmcot_jax import hosts, lock, run_data, stages, store
    from mmcot_jax.main_process import on_main_process

    stages.check(c)
    hosts.initialize()
    hosts.check_same_config(config.to_json(c))
    with c.unlocked(), c.ignore_type():
        c.stages, c.data.store, c.rollout_mesh = (), "", None
    with contextlib.ExitStack() as stack:
        on_main_process(lambda: stack.enter_context(lock.hold(folder)))
        on_main_process(lambda: store.check_new(folder))
        run = stages.Run(c, folder)
        run.data.check_first_rows("sft", run.mesh)
        rows = run.encoded_rows()
        fingerprint = run_data.fingerprint(c)
        if hosts.is_main_process():
            store.write(folder, rows, shards=c.data.shards, fingerprint=fingerprint)
        else:
            collections.deque(rows, maxlen=0)  # its devices encode their share of the images


if __name__ == "__main__":
    signals.handle("ended by a signal before the store was complete: prepare it again", status=143)
    from mmcot_jax import hosts

    hosts.run_and_exit(main, sys.argv[1:])
