"""Rewards that do to their process whatever a process lets them; each does it for one row only."""

import argparse
import asyncio
import decimal
import fractions
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np

SLOTS = asyncio.Semaphore(4)


def for_h(misdeed):
    """A reward of 1, which does something else for a reply with an h."""

    @functools.wraps(misdeed)
    def reward(example, reply):
        return misdeed(example, reply) if "h" in reply.text else 1.0

    return reward


# ---- each is a failure -----------------------------------------------------------------------


@for_h
def sys_exits(example, reply):
    sys.exit(0)


@for_h
def exits(example, reply):
    exit()


@for_h
def parses_arguments(example, reply):
    argparse.ArgumentParser().parse_args(["--help"])


@for_h
def interrupts(example, reply):
    raise KeyboardInterrupt


@for_h
def base_exception(example, reply):
    raise BaseException("of its own")


@for_h
def unprintable_error(example, reply):
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError("no")

    raise Silent


@for_h
def half_a_character(example, reply):
    raise ValueError("\ud800 " + "x" * 10**6)


@for_h
def recurses(example, reply):
    return recurses(example, reply)


@for_h
def lies_about_its_number(example, reply):
    class Number:
        def __float__(self):
            raise SystemExit(0)

        def __reduce__(self):
            raise RuntimeError("no")

    return Number()


@for_h
def huge_integer(example, reply):
    return 10**400


@for_h
def beyond_float32(example, reply):
    return -3e38


@for_h
def complex_number(example, reply):
    return np.complex64(1)


@for_h
def a_function(example, reply):
    return lambda completions: [1.0]


@for_h
def aborts(example, reply):
    os.abort()


@for_h
def kills_itself(example, reply):
    os.kill(os.getpid(), signal.SIGKILL)


@for_h
def closes_every_file(example, reply):
    os.closerange(0, 256)


@for_h
def writes_into_every_file(example, reply):
    for fd in range(3, 256):
        try:
            os.write(fd, b"\xff" * 64) if stat_is_socket(fd) else None
        except OSError:
            pass


def stat_is_socket(fd):
    try:
        socket.socket(fileno=os.dup(fd)).close()
    except OSError:
        return False
    return True


@for_h
def stops_itself(example, reply):
    os.kill(os.getpid(), signal.SIGSTOP)


# ---- each is scored ----------------------------------------------------------------------------


@for_h
def closes_its_output(example, reply):
    sys.stdin.close()
    sys.stdout.close()
    return 2.0


@for_h
def reads_its_input(example, reply):
    return 2.0 if sys.stdin.read() == "" else 0.0


@for_h
def goes_elsewhere(example, reply):
    os.chdir("/")
    return 2.0


@for_h
def restores_signals(example, reply):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return 2.0


@for_h
def leaves_a_thread(example, reply):
    threading.Thread(target=time.sleep, args=(3600,)).start()
    return 2.0


@for_h
def leaves_a_child(example, reply):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3611)"])
    return 2.0


@for_h
def forks(example, reply):
    os.fork()
    return 2.0


@for_h
def terminates_a_child(example, reply):
    child = subprocess.Popen(["sleep", "60"])
    child.terminate()
    return 2.0 if child.wait(5) == -signal.SIGTERM else 0.0


@for_h
def prints_a_lot(example, reply):
    print("x" * 10**6, file=open(os.devnull, "w"))
    return 2.0


@for_h
def changes_its_arguments(example, reply):
    example.extra["options"].clear()
    return 2.0


@for_h
def half_precision(example, reply):
    return np.float16(2)


@for_h
def an_array(example, reply):
    return np.full((1, 1), 2.0)


@for_h
def a_tensor(example, reply):
    class Tensor:
        def item(self):
            return 2.0

    return Tensor()


@for_h
def a_decimal(example, reply):
    return decimal.Decimal("2.0")


@for_h
def a_fraction(example, reply):
    return fractions.Fraction(4, 2)


@for_h
def true(example, reply):
    return True


async def awaits(example, reply):
    await asyncio.sleep(0)
    return 2.0 if "h" in reply.text else 1.0


def reads_options(example, reply):
    return float(len(example.extra["options"]))


FAIL = {
    "sys_exits": (
        "raised",
        "SystemExit(0): a reward returns, it does not exit (hostile_rewards.py",
    ),
    "exits": ("raised", "SystemExit"),
    "parses_arguments": ("raised", "SystemExit"),
    "interrupts": ("raised", "KeyboardInterrupt"),
    "base_exception": ("raised", "BaseException: of its own"),
    "unprintable_error": ("raised", "Silent: "),
    "half_a_character": ("raised", "ValueError: ? xxx"),
    "recurses": ("raised", "RecursionError"),
    "lies_about_its_number": ("type", "it returned a Number, <"),
    "huge_integer": ("type", "which is no number (OverflowError"),
    "beyond_float32": ("type", "it returned -3e+38; rewards are compared in float32"),
    "complex_number": ("type", "it returned a complex64"),
    "a_function": ("type", "it returned a function"),
    "aborts": ("died", "killed by SIGABRT"),
    "kills_itself": ("died", "killed by SIGKILL"),
    "closes_every_file": ("died", ""),
    "writes_into_every_file": ("died", ""),
    "stops_itself": ("timeout", "no value within reward_timeout, 3 s"),
}
SCORE = {
    **dict.fromkeys(
        (
            "reads_its_input",
            "closes_its_output",
            "goes_elsewhere",
            "restores_signals",
            "leaves_a_thread",
            "leaves_a_child",
            "forks",
            "terminates_a_child",
            "prints_a_lot",
            "changes_its_arguments",
            "half_precision",
            "an_array",
            "a_tensor",
            "a_decimal",
            "a_fraction",
            "awaits",
        ),
        2.0,
    ),
    "true": 1.0,
}


# ---- of a whole call ---------------------------------------------------------------------------


async def in_one_loop(completions, log_metric, **kwargs):
    """40 tasks behind a semaphore that was made as the file was loaded."""

    async def one():
        async with SLOTS:
            await asyncio.sleep(0)

    await asyncio.gather(*[one() for _ in range(40)])
    log_metric("loop", id(asyncio.get_running_loop()) % 1000)
    return [1.0] * len(completions)


def exits_in_a_call(completions, **kwargs):
    sys.exit(0)


def logs_what_json_cannot_hold(completions, log_metric, log_extra):
    log_metric("not finite", float("inf"))
    log_metric("three", np.float32(3))
    column = [float("nan"), np.float32(0.5), "\ud800", object(), {"a": [1]}, {1: object()}, None]
    log_extra("column", (column * len(completions))[: len(completions)])
    return [1.0] * len(completions)


def some_are_no_numbers(completions):
    return [0.5, "good", float("nan"), None][: len(completions)]
