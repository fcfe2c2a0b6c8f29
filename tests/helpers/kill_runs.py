"""Interrupts small runs of all stages at random moments and checks that they resume as if never.

    python tests/helpers/kill_runs.py [--kills 100] [--terms 20] [--seed 0] [--folder DIR]
        [--config.KEY=VALUE ...]

A first run is not interrupted. Then runs of the same config are interrupted up to four times each,
by SIGKILL to the main process or by SIGTERM to the whole process group, started again until they
are finished, and compared with the first: metrics (without times), completions with their pictures,
results, the arrays of the last checkpoints, and the names of all files, so that nothing is left
over. After SIGTERM the status is 0 and the last line of the output says what was saved. After
either no process is left. Half of the moments are uniform over a run's time, half over the time
after its first new step. Prints a line per run and one of totals; the status is 1 if there is a
fault, and DIR keeps the runs at fault with their output. 120 interruptions take 33 minutes
beside other work on two cores.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from typing import NamedTuple

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))  # for `helpers`, as a script
MOST_INTERRUPTIONS = 4
"""Of one run."""
END_SECONDS = 60
"""A run that does not end so long after a SIGTERM is at fault."""
ORPHAN_SECONDS = 10
"""Worker processes that live for so long without their parent are at fault."""
MARK, MARKED = "KILL_RUNS", str(os.getpid())
"""A variable in the environment of all processes of the runs."""
SMALL = ("data.train.processes=1", "data.grpo.processes=1", "grpo.save_steps=1", "sft.save_steps=1")
TIMED = ("time/", "tokens_per_second", "step_time")


class Interruption(NamedTuple):
    """A signal, and when it is sent."""

    number: signal.Signals
    fraction: float
    """Of the time of the whole run, or of its time after its first new step."""
    after_a_step: bool


def command(workdir: pathlib.Path, changes: list[str]) -> list[str]:
    """The command of a run."""
    from helpers.flags import TINIEST, flags

    return [sys.executable, "-m", "mmcot_jax.main", *flags(workdir, *TINIEST, *SMALL), *changes]


def begin(workdir: pathlib.Path, changes: list[str]) -> subprocess.Popen:
    """Starts a run in a process group of its own; its output goes into a file beside it."""
    with open(output(workdir), "w") as file:
        return subprocess.Popen(
            command(workdir, changes),
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", MARK: MARKED},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def output(workdir: pathlib.Path) -> pathlib.Path:
    """The output of the last start of a run."""
    return workdir.with_suffix(".log")


def interrupt(
    process: subprocess.Popen, workdir: pathlib.Path, plan: Interruption, whole: float
) -> tuple[str, list[str]]:
    """Sends a signal at its moment; returns what became of the run, and the faults."""
    begun, log = time.monotonic(), workdir / "metrics.jsonl"
    lines = _lines(log)
    if plan.after_a_step:
        while process.poll() is None and _lines(log) <= lines:
            time.sleep(0.01)
        time.sleep(plan.fraction * whole / 4)
    else:
        time.sleep(plan.fraction * whole)
    if process.poll() is not None:
        return "finished", ended(process, workdir)
    if plan.number == signal.SIGKILL:
        process.kill()
        process.wait()
        return "SIGKILL", orphans()
    os.killpg(process.pid, plan.number)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return "SIGTERM", [f"did not end within {END_SECONDS} s of a SIGTERM"]
    if (
        process.returncode == -signal.SIGTERM
        and time.monotonic() - begun < whole / 10
        and _empty(workdir)
    ):
        return "SIGTERM before Python was ready", orphans()
    faults = ended(process, workdir)
    last = output(workdir).read_text().splitlines()[-1:]
    if not (workdir / "finished").exists() and not str(last).startswith("['preempted: "):
        faults.append(f"after SIGTERM the last line is {last}")
    return "SIGTERM", faults


def _lines(path: pathlib.Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _empty(workdir: pathlib.Path) -> bool:
    return not output(workdir).read_text()


def ended(process: subprocess.Popen, workdir: pathlib.Path) -> list[str]:
    """Faults of a run that ended by itself."""
    faults = orphans()
    if process.returncode != 0:
        faults.append(f"status {process.returncode}: {output(workdir).read_text()[-600:]}")
    if "Traceback" in output(workdir).read_text():
        faults.append("a traceback")
    return faults


def orphans() -> list[str]:
    """Kills processes that a run has left behind; they are faults."""
    end = time.monotonic() + ORPHAN_SECONDS
    while (left := _marked()) and time.monotonic() < end:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return [f"{len(left)} worker processes were left"] if left else []


def _marked() -> list[int]:
    """Processes that were started by a run of this script, in whatever session."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # another user's, or it ended
            if f"{MARK}={MARKED}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def differences(workdir: pathlib.Path, expected: pathlib.Path) -> list[str]:
    """What differs between a finished run and the uninterrupted one."""
    found = []
    if _metrics(workdir) != _metrics(expected):
        found.append("metrics.jsonl differs")
    here, there = _files(workdir), _files(expected)
    found += [f"{name} is left over" for name in sorted(here - there)]
    found += [f"{name} is missing" for name in sorted(there - here)]
    for name in sorted(here & there):
        same_text = name.startswith(("completions/", "results"))
        if same_text and (workdir / name).read_bytes() != (expected / name).read_bytes():
            found.append(f"{name} differs")
    for stage in ("sft", "grpo"):
        ours, theirs = _arrays(workdir, stage), _arrays(expected, stage)
        if ours.keys() != theirs.keys():
            found.append(f"the checkpoint of {stage} has other arrays")
        else:
            unequal = [k for k in ours if not np.array_equal(ours[k], theirs[k], equal_nan=True)]
            found += [f"the checkpoint of {stage} differs in {k}" for k in unequal]
    return found


def _metrics(workdir: pathlib.Path) -> list[dict]:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if not k.startswith(TIMED)} for line in lines
    ]


def _files(workdir: pathlib.Path) -> set[str]:
    """Names of all files; of a checkpoint, whose files have random names, the step's folder."""
    found = set()
    for path in workdir.rglob("*"):
        parts = path.relative_to(workdir).parts
        if parts[0] == "tensorboard":
            continue
        if parts[0] == "checkpoints":
            found.add("/".join(parts[:3]))
        elif path.is_file():
            found.add("/".join(parts))
    return found


def _arrays(workdir: pathlib.Path, stage: str) -> dict[str, np.ndarray]:
    import jax
    import orbax.checkpoint as ocp

    steps = (workdir / "checkpoints" / stage).iterdir()
    last = max((p for p in steps if p.name.isdigit()), key=lambda p: int(p.name))
    with ocp.StandardCheckpointer() as reader:
        tree = reader.restore(last.absolute() / "state")
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def one_run(
    workdir: pathlib.Path,
    plans: list[Interruption],
    expected: pathlib.Path,
    whole: float,
    changes: list[str],
) -> tuple[Counter, list[str]]:
    """Interrupts one run as planned, finishes it, and compares it; returns counts and faults."""
    counts, faults = Counter(), []
    for plan in plans:
        what, found = interrupt(begin(workdir, changes), workdir, plan, whole)
        counts[what] += 1
        faults += [f"{plan.number.name}: {fault}" for fault in found]
        if what == "finished" or found:
            break
    if not faults and not (workdir / "finished").exists():
        process = begin(workdir, changes)
        process.wait()
        faults += ended(process, workdir)
    return counts, faults or differences(workdir, expected)


def plan(kills: int, terms: int, seed: int) -> list[Interruption]:
    """The interruptions, in a random order."""
    draw = random.Random(seed)
    numbers = [signal.SIGKILL] * kills + [signal.SIGTERM] * terms
    draw.shuffle(numbers)
    return [Interruption(number, draw.random(), draw.random() < 0.5) for number in numbers]


def main() -> int:
    """Runs the interruptions; returns 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs to the main process")
    parser.add_argument("--terms", type=int, default=20, help="SIGTERMs to the process group")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=pathlib.Path, help="new or empty; by default temporary")
    given, changes = parser.parse_known_args()
    folder = (given.folder or pathlib.Path(tempfile.mkdtemp(prefix="kill_runs_"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    expected = folder / "uninterrupted"
    for workdir in (folder / "first", expected):  # the first fills the cache of compiled programs
        began = time.monotonic()
        process = begin(workdir, changes)
        process.wait()
        whole = time.monotonic() - began
        if faults := ended(process, workdir):
            print(f"{workdir}: {faults}")
            return 1
    print(f"an uninterrupted run takes {whole:.1f} s", flush=True)
    repeated = differences(folder / "first", expected)
    faults = [f"first: {fault}" for fault in repeated]
    left, counts, runs = plan(given.kills, given.terms, given.seed), Counter(), 0
    draw = random.Random(given.seed)
    while left and not repeated:
        workdir = folder / f"run{runs:03}"
        plans = left[: draw.randint(1, MOST_INTERRUPTIONS)]
        done, found = one_run(workdir, plans, expected, whole, changes)
        sent = sum(number for what, number in done.items() if what != "finished")
        left, runs = left[max(sent, 1 if found else 0) :], runs + 1
        if done["finished"] and left:  # it was faster than the first: an earlier moment
            left[0] = left[0]._replace(fraction=left[0].fraction * draw.random())
        counts += done
        said = ", ".join(found) or "equal"
        print(f"{workdir.name}: {', '.join(done.elements())}: {said}", flush=True)
        faults += found
        if not found:
            shutil.rmtree(workdir)
            output(workdir).unlink()
    sent = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
    print(f"{runs} runs, interrupted by {sent}: {len(faults)} faults")
    if not faults and given.folder is None:
        shutil.rmtree(folder)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
