"""Measures GRPO steps of a config on the devices that are here.

    python -m mmcot_jax.bench --config configs/m2t.py:7b --steps 5 --json bench.json
    python -m mmcot_jax.bench --config configs/m2m.py:tiny

Weights are random and drawn on the devices; questions are synthetic, of the config's `plan` sizes;
EOS is forbidden, so every completion has `grpo.max_completion_length` tokens. Nothing is
downloaded, and no file is left but that of `--json`. The steps are those of training, whole: the
first one compiles, the others are measured.
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from mmcot_jax import huge_pages

if __name__ == "__main__":
    huge_pages.use()  # first: a new start is to cost nothing that `BEGAN` does not count

BEGAN = time.monotonic()

from mmcot_jax import config, errors, files  # noqa: E402


def main(argv: Sequence[str]) -> int:
    """Prints the measurements; returns 2 and one line if the input is at fault."""
    return errors.run_command(partial(_bench, argv))


def _bench(argv: Sequence[str]) -> None:
    args, c = _parse(argv)
    import jax

    from mmcot_jax import hosts, stages
    from mmcot_jax.bench import measure, rates, report

    c = measure.prepare(c, args.steps)
    hosts.initialize()
    mesh, rollout_mesh = stages.make_meshes(c)
    steps = measure.run(c, mesh, rollout_mesh, args.steps, BEGAN)
    if not hosts.is_main_process():
        return
    device = jax.local_devices()[0]
    found = rates.measure(device)
    summary = report.summarize(c, steps, report.work(c, mesh, rollout_mesh), found)
    result = {
        "device": {
            "kind": device.device_kind,
            "platform": device.platform,
            "count": jax.device_count(),
            **found._asdict(),
        },
        "commit": _commit(),
        "command": shlex.join(["python", "-m", "mmcot_jax.bench", *argv]),
        "jax": jax.__version__,
        "prompt_tokens": c.plan.prompt_tokens,
        "summary": summary,
        "steps": [
            {"wall_s": wall, "cpu_s": cpu, **metrics}
            for wall, cpu, metrics in zip(steps.wall_s, steps.cpu_s, steps.metrics, strict=True)
        ],
        "config": json.loads(config.to_json(c)),
    }
    report.print_table(result)
    if args.json:
        files.write_text(args.json, json.dumps(result, indent=2) + "\n")


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Any]:
    parser = config.Parser(prog="python -m mmcot_jax.bench", allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE[:PRESET]", required=True, help="what to measure")
    parser.add_argument("--steps", type=int, default=5, help="measured steps, after one to compile")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write all of it")
    parser.epilog = "--config.KEY=VALUE changes one value of the config"
    args, rest = parser.parse_known_args(argv)
    c = config.load(args.config, config.overrides(rest))
    if args.steps < 1:
        raise ValueError(f"--steps is {args.steps}; give 1 or more")
    if args.json and args.json.is_dir():
        raise ValueError(f"--json is {str(args.json)!r}, a folder; give a file")
    return args, c


def _commit() -> str:
    """Returns the commit of this package, marked if files differ from it; "" outside git."""
    git = ["git", "-C", str(pathlib.Path(__file__).parent)]
    try:
        commit = subprocess.run(
            [*git, "describe", "--always", "--dirty", "--exclude=*"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
