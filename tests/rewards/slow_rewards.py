"""Rewards that take their time."""

import time


def naps(example, reply):
    time.sleep(0.2)
    return 1.0


def trl_naps(completions, **kwargs):
    time.sleep(0.2 * len(completions))
    return [1.0] * len(completions)


def hangs(example, reply):
    if "h" in reply.text:
        time.sleep(3600)
    return 1.0


def trl_hangs(completions, **kwargs):
    if "h" in completions:
        time.sleep(3600)
    return [1.0] * len(completions)
