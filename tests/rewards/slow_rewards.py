"""Rewards that take their time."""

import asyncio
import sys
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


async def trl_waits(completions, log_metric, **kwargs):
    await asyncio.gather(*[answer(completion) for completion in completions])
    log_metric("rows", len(completions))
    return [1.0] * len(completions)


async def answer(completion):
    await asyncio.sleep(3600 if completion == "h" else 0.4)
    if completion == "exit":
        sys.exit(0)
    if completion == "raise":
        raise RuntimeError("no")
