"""Rewards that are hostile or slow, and workers that are killed: each costs its rows only."""

import importlib.util
import math
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mmcot_jax.example import Example, Reply
from mmcot_jax.rewards import resolve
from mmcot_jax.rewards.pool import Pool
from mmcot_jax.rewards.results import RewardResult
from mmcot_jax.rewards.task import MAX_LOST, Task
from mmcot_jax.rewards.trl import TrainerState

FOLDER = pathlib.Path(__file__).parent
HOSTILE, SLOW = FOLDER / "hostile_rewards.py", FOLDER / "slow_rewards.py"


def load(file: pathlib.Path):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def submit(pool: Pool, words, group: int = 1, step: int = 0) -> RewardResult:
    examples = [
        Example(str(i // group), ("?",), "a", extra={"options": ["a", "b"]})
        for i in range(len(words))
    ]
    replies = [Reply((word,)) for word in words]
    return pool.submit(examples, replies, step=step, group_size=group).result()


def pids(pool: Pool) -> list[int]:
    found = [p._process.pid for w in pool._workers.values() for p in w._processes.values()]
    return sorted(found)


def until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def ended(pid: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def test_whatever_a_reward_does_to_its_process_costs_its_row_or_nothing():
    hostile = load(HOSTILE)
    calls = ("in_one_loop", "exits_in_a_call", "logs_what_json_cannot_hold")
    names = (*hostile.FAIL, *hostile.SCORE, "reads_options", *calls)
    with Pool([f"{HOSTILE}:{name}" for name in names], timeout_s=3.0, processes=1) as pool:
        scored = submit(pool, ("a", "bh", "cc", "d"))
        with_loop = [submit(pool, ("a",) * 4, 2, step).logged["in_one_loop"] for step in (1, 2)]
        last = pids(pool)
    values = dict(zip(names, scored.values.T.tolist(), strict=True))
    for name, (kind, message) in hostile.FAIL.items():
        (failure,) = [f for f in scored.failures if f.reward == name]
        assert (failure.row, failure.kind) == (1, kind), failure
        assert message in failure.message and len(failure.message) < 700
        np.testing.assert_array_equal(values[name], [1.0, math.nan, 1.0, 1.0])
    for name, value in hostile.SCORE.items():
        assert values[name] == [1.0, value, 1.0, 1.0], name
    assert values["reads_options"] == [2.0] * 4  # what another reward cleared
    assert [f.kind for f in scored.failures if f.reward == "exits_in_a_call"] == ["raised"] * 4
    assert with_loop[0] == with_loop[1]  # one loop, whatever the call and the step
    logged = scored.logged["logs_what_json_cannot_hold"]
    assert logged == {"not finite": math.inf, "three": 3.0}
    until(lambda: all(ended(pid) for pid in last), 10)


def test_what_a_reward_logs_can_be_written_as_json_and_values_are_checked_one_by_one():
    names = [f"{HOSTILE}:logs_what_json_cannot_hold", f"{HOSTILE}:some_are_no_numbers"]
    with Pool(names, timeout_s=30.0, processes=1) as pool:
        (column,) = submit(pool, ("a",) * 7, 7).extra["logs_what_json_cannot_hold"].values()
        scored = submit(pool, ("a",) * 4, 4)
    np.testing.assert_array_equal(scored.values[:, 1], [0.5, math.nan, math.nan, math.nan])
    assert [(f.row, f.kind) for f in scored.failures] == [(1, "type"), (2, "nan")]
    assert column[:3] == [None, 0.5, "?"] and column[4:] == [{"a": [1]}, column[5], None]
    assert column[3].startswith("a object, <object") and column[5].startswith("a dict, {1: <obj")


def test_workers_share_a_batch_and_a_limit_is_one_of_a_sample():
    names = [f"{SLOW}:naps", f"{SLOW}:trl_naps"]
    with Pool(names, timeout_s=0.5, processes=4) as pool:
        submit(pool, ("a",) * 4)  # the workers have started
        scored = submit(pool, ("a",) * 16, 4)
    assert scored.failures == () and scored.values.tolist() == [[1.0, 1.0]] * 16
    # 16 samples of 0.2 s: 0.8 s on four workers, 3.2 s on one; a call of 0.8 s may take 4 x 0.5 s
    assert 0.7 < scored.times["naps"] < 2.5 and 0.7 < scored.times["trl_naps"] < 2.5


def test_a_slow_row_costs_itself_and_of_a_call_its_group():
    words = ["a"] * 24
    for row in (1, 3, 6):
        words[row] = "h"
    with Pool([f"{SLOW}:hangs", f"{SLOW}:trl_hangs"], timeout_s=0.5, processes=2) as pool:
        began = time.monotonic()
        scored = submit(pool, words, 4)
        assert time.monotonic() - began < 30
    assert np.flatnonzero(np.isnan(scored.values[:, 0])).tolist() == [1, 3, 6]
    assert np.flatnonzero(np.isnan(scored.values[:, 1])).tolist() == list(range(8))
    messages = {(f.reward, f.kind, f.message) for f in scored.failures}
    assert messages == {
        ("hangs", "timeout", "no value within reward_timeout, 0.5 s"),
        ("trl_hangs", "timeout", "no value within reward_timeout, 0.5 s for each of 4 samples"),
    }


def test_calls_of_an_async_reward_wait_at_once_and_one_that_hangs_costs_its_group():
    words = ["a"] * 32
    with Pool([f"{SLOW}:trl_waits"], timeout_s=0.5, processes=1) as pool:
        submit(pool, ("a",) * 4)
        scored = submit(pool, words, 4)
        assert scored.failures == () and scored.times["trl_waits"] < 1.5  # 8 calls of 0.4 s
        assert scored.logged["trl_waits"] == {"rows": 4.0}
        words[5], words[9], words[14] = "h", "exit", "raise"
        scored = submit(pool, words, 4)
    kinds = {f.row: (f.kind, f.message) for f in scored.failures}
    assert sorted(kinds) == list(range(4, 16))
    assert kinds[5] == ("timeout", "no value within reward_timeout, 0.5 s for each of 4 samples")
    assert kinds[9][0] == "raised" and kinds[9][1].startswith("SystemExit(0): a reward returns")
    assert kinds[14][0] == "raised" and kinds[14][1].startswith("RuntimeError: no (slow_rewards")


def task(rows: int, group: int, name: str = f"{SLOW}:hangs") -> Task:
    groups = [list(range(first, first + group)) for first in range(0, rows, group)]
    sample = (Example("q", ("?",), "a"), Reply(("a",)), np.zeros(0, np.int32))
    return Task(resolve(name), "hangs", [sample] * rows, groups, state=TrainerState())


def test_rows_are_sent_in_parts_that_do_not_depend_on_the_workers_for_a_call():
    for processes in (1, 2, 8):
        groups = [tuple(range(i, i + 8)) for i in range(0, 64, 8)]
        calls = list(task(64, 8, f"{SLOW}:trl_hangs").parts(processes))
        assert sorted(calls) == [(group,) for group in groups]
        at_once = list(task(64, 8, f"{SLOW}:trl_waits").parts(processes))
        assert len(at_once) == processes and sorted(sum(at_once, ())) == groups
        parts = list(task(64, 8).parts(processes))
        assert sorted(sum(parts, ())) == [(row,) for row in range(64)]
        assert all(part[0][0] // 8 == part[-1][0] // 8 for part in parts)
        assert len(parts) >= 4 * processes
    assert len(list(task(64, 64).parts(8))) == 32  # one question, eight workers


@pytest.mark.parametrize("hangs", [lambda row: row < 32, lambda row: row % 2, lambda row: row < 40])
def test_half_of_the_rows_may_hang_and_the_others_are_scored(hangs):
    found = task(64, 8)
    for ((row,),) in found.parts(16):
        assert found.given_up() is None
        if hangs(row):
            found.fail([row], "timeout", "", lost=True)
        else:
            found.score([row], [1.0], [], {}, {}, [])
    values = found.future.result(0).values[:, 0]
    assert np.isnan(values).tolist() == [bool(hangs(row)) for row in range(64)]


def test_a_reward_whose_rows_all_hang_is_given_up():
    found = task(64, 8)
    for number, ((row,),) in enumerate(found.parts(16)):
        if why := found.given_up():
            assert number == MAX_LOST
            found.abandon("given up", why)
            break
        found.fail([row], "timeout", "", lost=True)
    kinds = [f.kind for f in found.future.result(0).failures]
    assert kinds.count("timeout") == MAX_LOST and kinds.count("given up") == 64 - MAX_LOST


def test_the_import_of_a_file_is_not_a_samples_time(tmp_path):
    file = tmp_path / "judge.py"
    file.write_text("import time\ntime.sleep(1.5)\n\n\ndef f(example, reply):\n    return 1.0\n")
    with Pool([f"{file}:f"], timeout_s=0.5, processes=1) as pool:
        assert submit(pool, ("a",) * 4).failures == ()


def test_a_file_that_only_a_worker_cannot_import_fails_its_own_rewards_only(tmp_path):
    file = tmp_path / "judge.py"
    file.write_text(
        "import os, pathlib\n"
        "there = pathlib.Path(__file__).with_name('there').exists()\n"
        f"if os.getpid() != {os.getpid()} and not there:\n"
        "    raise OSError('no weights')\n\n\n"
        "def f(example, reply):\n    return 1.0\n"
    )
    with Pool([f"{file}:f", f"{SLOW}:hangs"], timeout_s=5.0, processes=2) as pool:
        scored = submit(pool, ("a", "b"))
        assert scored.values[:, 1].tolist() == [1.0, 1.0]
        assert [(f.row, f.kind) for f in scored.failures] == [(0, "raised"), (1, "raised")]
        said = scored.failures[0].message
        assert said.startswith("in a worker a module of reward_funcs") and "judge.py" in said
        assert "OSError: no weights" in said
        (tmp_path / "there").touch()
        assert submit(pool, ("a", "b")).failures == ()  # each batch tries again


def test_a_file_with_a_dataclass_and_objects_of_it_in_a_question(tmp_path):
    file = tmp_path / "scores.py"
    file.write_text(
        "from __future__ import annotations\n\nimport dataclasses\n\n\n"
        "@dataclasses.dataclass\nclass Score:\n    value: float\n\n\n"
        "def f(example, reply):\n    return Score(2.0).value + example.extra['score'].value\n"
    )
    score = resolve(f"{file}:f").function.__globals__["Score"](0.5)
    example = Example("0", ("?",), "a", extra={"score": score})
    # the second file's workers have not imported the first
    with Pool([f"{file}:f", f"{SLOW}:hangs"], timeout_s=5.0, processes=1) as pool:
        scored = pool.submit([example] * 2, [Reply(("a",))] * 2).result()
        assert scored.values.tolist() == [[2.5, 1.0]] * 2 and scored.failures == ()
        example.extra["function"] = lambda: 0.0
        scored = pool.submit([example] * 2, [Reply(("a",))] * 2).result()
        assert {f.kind for f in scored.failures} == {"raised"} and len(scored.failures) == 4
        assert "its rows cannot be sent to a worker: " in scored.failures[0].message
        assert pool.submit([], []).result().values.shape == (0, 2)


def test_workers_survive_signals_to_all_processes_and_are_replaced_when_killed():
    with Pool([f"{SLOW}:naps"], timeout_s=5.0, processes=2) as pool:
        until(lambda: len(pids(pool)) == 2)
        first = pids(pool)
        for _ in range(20):  # from the first moment of their start on
            for pid in first:
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGINT)
            time.sleep(0.02)
        assert submit(pool, ("a",) * 4).failures == () and pids(pool) == first
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        until(lambda: all(ended(pid) for pid in first), 10)
        assert submit(pool, ("a",) * 4).failures == ()
        second = pids(pool)
        assert not set(first) & set(second)
        pending = pool.submit(*zip(*[(Example("0", ("?",), ""), Reply(("a",)))] * 8, strict=True))
        time.sleep(0.3)
        for pid in second:  # in the midst of a row
            os.kill(pid, signal.SIGKILL)
        assert pending.result().failures == ()
        third = pids(pool)
    until(lambda: all(ended(pid) for pid in third), 10)


def test_workers_and_what_they_started_end_with_a_killed_run(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "import re, subprocess, time\n"
        "from mmcot_jax.example import Example, Reply\n"
        "from mmcot_jax.rewards.pool import Pool\n\n\n"
        "def loops(example, reply):\n"
        "    child = subprocess.Popen(['sleep', '3600'])\n"
        "    print(child.pid, flush=True)\n"
        "    re.match('(a+)+$', 'a' * 64 + 'b')  # holds the interpreter\n\n\n"
        "if __name__ == '__main__':\n"
        "    with Pool([f'{__file__}:loops'], timeout_s=600.0, processes=1) as pool:\n"
        "        pending = pool.submit([Example('0', ('?',), 'a')], [Reply(('a',))])\n"
        "        while not pool._workers[__file__]._processes: time.sleep(0.01)\n"
        "        print(pool._workers[__file__]._processes[0]._process.pid, flush=True)\n"
        "        pending.result()\n"
    )
    run = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    worker, child = int(run.stdout.readline()), int(run.stdout.readline())
    assert not ended(worker) and not ended(child)
    run.kill()
    run.wait()
    until(lambda: ended(worker) and ended(child), 10)
