"""Runs the command and sends itself a signal at its n-th sampling, scoring, update or evaluation.

    python tests/helpers/killed.py KILL|TERM PHASE N [flags of mmcot_jax.main]

SIGKILL comes after the computation is dispatched and before it is waited for. SIGTERM comes before
the computation, early enough for the other processes to learn of it.
"""

import os
import signal
import sys
import time

from mmcot_jax import main, signals
from mmcot_jax.evals import evaluate
from mmcot_jax.rewards import pool
from mmcot_jax.sample import sampler
from mmcot_jax.train import step

PLACES = {
    "learning": (step, "sft_step"),
    "sampling": (sampler, "sample"),
    "scoring": (pool.Pool, "submit"),
    "update": (step, "grpo_step"),
    "evaluation": (evaluate, "evaluate"),
}
NOTICE_SECONDS = 3

if __name__ == "__main__":
    signals.handle(main.NOTHING_TO_SAVE, status=0)  # as the command does
    from mmcot_jax import hosts

    name, phase, number, *flags = sys.argv[1:]
    owner, function = PLACES[phase]
    real, calls = getattr(owner, function), []

    def killed(*args, **kwargs):
        calls.append(phase)
        now = len(calls) == int(number)
        if now and name == "TERM":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(NOTICE_SECONDS)
        result = real(*args, **kwargs)
        if now and name == "KILL":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, function, killed)
    hosts.run_and_exit(main.main, flags)
