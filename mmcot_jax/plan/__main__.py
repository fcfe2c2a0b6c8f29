"""Estimates whether a config fits a TPU slice, before one is rented.

    python -m mmcot_jax.plan --config configs/m2t.py --topology v5e:4x4
    python -m mmcot_jax.plan --config configs/m2m.py --topology v5e:4x4 --slices 2 \
        --config.mesh.data=2 --config.sft.batch_size=32 --programs grpo_step,sample
    python -m mmcot_jax.plan --config configs/m2t.py --topology v5e:4x4 --sweep
    python -m mmcot_jax.plan --config configs/m2t.py --topology v5e:4x4 \
        --weak-scaling 2*v5e:4x4,v5e:16x16

Compiles the run's own programs for that slice on this machine's CPU. Needs libtpu
(`pip install mmcot_jax[plan]`), no TPU and no weights. A 7B program compiles in minutes.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from mmcot_jax import config, errors


def main(argv: Sequence[str]) -> int:
    """Prints the plan; returns 1 if it does not fit, 2 and one line if the input is at fault."""
    from mmcot_jax.plan import topology

    topology.prepare()
    return errors.run_command(partial(_plan, argv))


def _plan(argv: Sequence[str]) -> int:
    from mmcot_jax.plan import report, scaling, sweep

    args, c = _parse(argv)
    slice_ = report.Slice.of(args.topology, args.slices)
    if args.sweep:
        return sweep.sweep(c, slice_, args.programs)
    if args.weak_scaling:
        larger = scaling.slices(args.weak_scaling)
        return scaling.weak_scaling(c, [slice_, *larger], args.programs)
    estimates = []
    for estimate in report.estimates(c, slice_, args.programs):
        if not args.json:
            if not estimates:
                report.print_headings()
            report.print_row(estimate)
        estimates.append(estimate)
    if args.json:
        print(json.dumps(report.to_dict(slice_, estimates), indent=2))
    else:
        report.print_summary(estimates, slice_)
    return int(any(estimate.over_bytes for estimate in estimates))


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Any]:
    parser = config.Parser(prog="python -m mmcot_jax.plan", allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE[:PRESET]", required=True, help="what to plan")
    parser.add_argument("--topology", required=True, help="a slice, such as v5e:4x4")
    parser.add_argument("--slices", type=int, default=1, help="number of slices")
    parser.add_argument("--programs", type=_names, default=(), help="only these, by name")
    parser.add_argument("--sweep", action="store_true", help="try meshes and micro-batches")
    parser.add_argument(
        "--weak-scaling",
        metavar="SLICES",
        default="",
        help="a GRPO step here and on larger slices, such as 2*v5e:4x4,v5e:16x16",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = "--config.KEY=VALUE changes one value of the config"
    args, rest = parser.parse_known_args(argv)
    return args, config.load(args.config, config.overrides(rest))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
