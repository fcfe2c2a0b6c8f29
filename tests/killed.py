"""Runs the command and kills it with SIGKILL in its n-th sampling, scoring or update.

    python tests/killed.py PHASE N [flags of mmcot_jax.main]

The device is at work when it happens: what is killed was dispatched, not waited for.
"""

import os
import signal
import sys

from mmcot_jax import main
from mmcot_jax.evals import ask
from mmcot_jax.rewards import pool
from mmcot_jax.train import step

PLACES = {
    "sampling": (ask, "sample"),
    "scoring": (pool.Pool, "submit"),
    "update": (step, "grpo_step"),
}

if __name__ == "__main__":
    phase, number, *flags = sys.argv[1:]
    owner, name = PLACES[phase]
    real, calls = getattr(owner, name), []

    def killed(*args, **kwargs):
        result = real(*args, **kwargs)
        calls.append(phase)
        if len(calls) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, killed)
    sys.exit(main.main(flags))
