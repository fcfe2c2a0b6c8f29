"""A config's training rows, drawn, rendered and tokenised once, into a store pods read.

python -m mmcot_jax.prepare --config configs/m2m.py --workdir STORE
python -m mmcot_jax.main --config configs/m2m.py --config.data.store=STORE --workdir runs/m2m
"""

import collections
import sys
from collections.abc import Sequence

from mmcot_jax import config


def main(argv: Sequence[str]) -> int:
    """Writes the store; status 2 and one line where the input is at fault."""
    from mmcot_jax import hosts, stages, store

    try:
        args = config.parse_args(argv)
        stages.check(args.config)
        hosts.join()
        hosts.agree(config.to_json(args.config))
        with args.config.unlocked():
            args.config.stages = ()
        job = stages.Job(args.config, args.workdir)
        rows = job.supervised()
        mark = stages.fingerprint(args.config)
        if hosts.first():
            store.write(args.workdir, rows, shards=args.config.data.shards, fingerprint=mark)
        else:
            collections.deque(rows, maxlen=0)  # its devices' share of the pictures
    except ValueError as error:
        if not config.ours(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    from mmcot_jax import hosts

    hosts.leave(main, sys.argv[1:])
