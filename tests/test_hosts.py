"""Two processes of four devices are one run of eight: the same losses, samples and results."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.flags import REWARDS, ROOT, TINIEST, flags

from configs import base
from mmcot_jax import data, hosts
from mmcot_jax import main as command
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Example
from mmcot_jax.train import grpo

MAIN = ("-m", "mmcot_jax.main")
EACH = 8
"""Rows of one of two processes in a batch: 4 prompts of 2 samples."""


def the_run(workdir) -> list[str]:
    return flags(
        workdir,
        *TINIEST,
        "eval.picture_ablation=true",
        f"grpo.reward_funcs={REWARDS}:hundreds,{REWARDS}:every_hundred",
        "grpo.reward_weights=1.0,1.0",
        f"grpo.process_reward_funcs={REWARDS}:every_hundred",
        "grpo.dynamic_sampling=true",
        "grpo.max_num_gen_batches=3",
    )


class Ended(NamedTuple):
    status: int
    output: str
    after: float
    """Seconds after the first process of the run had ended."""
    at: float
    """Time of `time.monotonic`."""


def together(*commands, grace: float = 90) -> list[Ended]:
    """Runs each `python COMMAND` as one process of a run; together they have eight devices.

    Those that still run `grace` seconds after the first has ended are killed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    devices = 8 // len(commands)
    common = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
    }
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in commands]
        running = []
        for index, (given, output) in enumerate(zip(commands, outputs, strict=True)):
            values = (address, str(len(commands)), str(index))
            named = dict(zip(hosts.ENV_VARS, values, strict=True)) if len(commands) > 1 else {}
            arguments = [sys.executable, *map(str, given)]
            running.append(
                subprocess.Popen(
                    arguments, cwd=ROOT, env=common | named, stderr=output, stdout=output
                )
            )
        ends = _wait(running, grace)
        for output in outputs:
            output.seek(0)
        return [
            Ended(process.returncode, output.read(), end - min(ends), end)
            for process, output, end in zip(running, outputs, ends, strict=True)
        ]


def _wait(running: list[subprocess.Popen], grace: float) -> list[float]:
    """The time each ended; kills those that run for 900 s, or `grace` s after the first's end."""
    ends, deadline = [0.0] * len(running), time.monotonic() + 900
    try:
        while not all(ends) and time.monotonic() < deadline:
            for index, process in enumerate(running):
                if not ends[index] and process.poll() is not None:
                    ends[index] = time.monotonic()
                    deadline = min(deadline, ends[index] + grace)
            time.sleep(0.05)
    finally:
        for process in running:
            process.kill()
            process.wait()
    return [end or time.monotonic() for end in ends]


def both_succeeded(ends: list[Ended]) -> None:
    assert [end.status for end in ends] == [0, 0], "\n\n".join(end.output[-8000:] for end in ends)


def lines(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def same(workdir: pathlib.Path, expected: pathlib.Path) -> None:
    """Checks that metrics agree within 1e-5, and that replies and results are identical."""
    timed = ("time/", "tokens_per_second", "step_time")
    ours, theirs = ([*lines(w / "metrics.jsonl")] for w in (workdir, expected))
    assert [(m.pop("stage"), m.pop("step")) for m in ours] == [
        (m.pop("stage"), m.pop("step")) for m in theirs
    ]
    for here, there in zip(ours, theirs, strict=True):
        # a run that was interrupted compiles again
        assert here.keys() ^ there.keys() <= {"time/compile"}
        for name in here:
            if not name.startswith(timed):
                close = there[name] and pytest.approx(there[name], rel=1e-5, abs=1e-5)
                assert here[name] == close, name
    for step in range(3):
        whole = lines(expected / f"completions/grpo_step_{step:05}.jsonl")
        for written in _parts(workdir, step):
            fields = "id", "reply", "advantage"
            ours, theirs = ([[row[f] for f in fields] for row in x] for x in (written, whole))
            assert ours == theirs
    for name in ("results.json", "completions/eval.jsonl", "completions/eval_pictures.jsonl"):
        assert (workdir / name).read_text() == (expected / name).read_text()
    assert pictures(workdir) == pictures(expected)
    assert (workdir / "finished").exists()


def _parts(workdir: pathlib.Path, step: int) -> list[list[dict]]:
    """The chains of a step, as written by one process, by two, or by both."""
    whole = workdir / f"completions/grpo_step_{step:05}.jsonl"
    parts = sorted(workdir.glob(f"completions/grpo_step_{step:05}_?.jsonl"))
    found = [lines(whole)] if whole.exists() else []
    if len(parts) == 2:
        rows = [*map(lines, parts)]
        starts = range(0, max(map(len, rows)), EACH)
        found += [[row for start in starts for x in rows for row in x[start : start + EACH]]]
    assert found
    return found


def pictures(workdir: pathlib.Path) -> dict[str, bytes]:
    folder = workdir / "completions"
    rows = [*lines(folder / "eval.jsonl"), *lines(folder / "eval_pictures.jsonl")]
    names = [name for row in rows for name in row["pictures"]]
    return {name: (folder / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of one process with eight devices."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    assert command.main(the_run(workdir)) == 0
    batches = [m.get("dynamic_sampling/num_gen_batches") for m in lines(workdir / "metrics.jsonl")]
    assert {1, 2} <= set(batches)
    return workdir


@pytest.fixture(scope="module")
def terminated(tmp_path_factory):
    """A run of two processes, one of which had a SIGTERM at its second step of SFT."""
    workdir = tmp_path_factory.mktemp("terminated") / "run"
    ends = together(
        (*MAIN, *the_run(workdir)),
        ("tests/helpers/killed.py", "TERM", "learning", 2, *the_run(workdir)),
    )
    both_succeeded(ends)
    said = r"preempted: sft is saved after \d of 4 steps; the same command"
    assert re.search(said, ends[0].output)
    assert "preempted" not in ends[1].output  # one process speaks
    saved = [int(path.name) for path in (workdir / "checkpoints/sft").iterdir()]
    assert len(saved) == 1 and 1 < saved[0] <= 4
    return workdir


@pytest.fixture(scope="module")
def killed(terminated, tmp_path_factory):
    """The same run resumed by two processes, one of which had a SIGKILL at step 2 of GRPO."""
    workdir = tmp_path_factory.mktemp("killed") / "run"
    shutil.copytree(terminated, workdir)
    ends = together(
        (*MAIN, *the_run(workdir)),
        ("tests/helpers/killed.py", "KILL", "update", 2, *the_run(workdir)),
    )
    assert ends[1].status == -signal.SIGKILL and ends[0].status not in (0, 2)
    assert ends[0].after < 60
    last = ends[0].output.splitlines()[-1]
    assert last.startswith("error: process 0 of 2 was ended from outside")
    return workdir


@pytest.mark.slow
def test_two_processes_that_sample_on_another_mesh_repeat_the_run_of_one(whole, tmp_path):
    workdir = tmp_path / "run"
    given = (*the_run(workdir), "--config.rollout_mesh={'data': 4, 'tensor': 2}")
    ends = together(*[(*MAIN, *given)] * 2)
    both_succeeded(ends)
    same(workdir, whole)
    assert pictures(whole)  # some were painted by one process and named by the other
    assert "grpo 3/3" in ends[0].output and "grpo 3/3" not in ends[1].output


@pytest.mark.slow
def test_a_sigkill_to_one_process_ends_the_other_and_one_resumes(whole, killed, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(killed, workdir)
    assert command.main(the_run(workdir)) == 0
    same(workdir, whole)


@pytest.mark.slow
def test_two_processes_resume_after_a_sigkill_and_a_sigterm_in_the_evaluation(whole, killed):
    ends = together(
        ("tests/helpers/killed.py", "TERM", "evaluation", 1, *the_run(killed)),
        (*MAIN, *the_run(killed)),
    )
    both_succeeded(ends)
    assert "preempted: the evaluation was at its question" in ends[0].output
    assert not (killed / "results.json").exists()
    ends = together(*[(*MAIN, *the_run(killed))] * 2)
    both_succeeded(ends)
    same(killed, whole)


def test_devices_that_are_not_here_are_one_line():
    code = (
        "from mmcot_jax import errors, hosts; import sys; "
        "sys.exit(errors.run_command(hosts.initialize))"
    )
    environment = os.environ | {"JAX_PLATFORMS": "gpu", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert re.fullmatch(
        r"error: jax finds no device \(JAX_PLATFORMS is 'gpu'\): .*; install jax for these "
        "devices, or unset the variable\n",
        ended.stderr,
    ), ended.stderr


@pytest.mark.slow
def test_a_sigterm_to_a_single_process_saves_and_exits_with_status_0(tmp_path):
    (end,) = together(
        ("tests/helpers/killed.py", "TERM", "learning", 2, *the_run(tmp_path / "run"))
    )
    assert end.status == 0 and "preempted: sft is saved after 2 of 4 steps; the same" in end.output
    assert [p.name for p in (tmp_path / "run/checkpoints/sft").iterdir()] == ["2"]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["rows", "rewards", "preempt"])
def test_two_processes_agree_on(scenario):
    ends = together(*[("tests/helpers/together.py", scenario)] * 2)
    both_succeeded(ends)


@pytest.mark.slow
def test_two_processes_pass_over_the_same_checkpoint(tmp_path):
    ends = together(*[("tests/helpers/together.py", "checkpoints", tmp_path)] * 2)
    both_succeeded(ends)
    line = "checkpoint {0}/3 is passed over for step 2: state/ocdbt.process_1/d/"
    assert [end.output.count(line.format(tmp_path)) for end in ends] == [1, 0]


@pytest.mark.slow
def test_two_configs_are_refused_by_all():
    for end in together(*[("tests/helpers/together.py", "two_configs")] * 2):
        assert end.status == 2
        assert "error: process 1 of 2 was given another config than process 0" in end.output


@pytest.mark.slow
def test_what_the_main_process_refuses_is_refused_by_all():
    for end in together(*[("tests/helpers/together.py", "refused")] * 2):
        assert end.status == 2 and "error: the folder is in use\n" in end.output


@pytest.mark.slow
@pytest.mark.parametrize(("name", "index"), [("SIGKILL", 0), ("SIGKILL", 1), ("SIGSTOP", 1)])
def test_a_process_that_dies_or_stops_ends_the_other_within_a_minute(name, index):
    grace = 1 if name == "SIGSTOP" else 90  # a stopped process never ends
    ends = together(*[("tests/helpers/together.py", "lose", name, index)] * 2, grace=grace)
    end = ends[1 - index]
    assert end.status not in (0, 2)
    (lost,) = re.findall(r"lost at (\S+)", ends[index].output)
    assert end.at - float(lost) < 60
    last = end.output.splitlines()[-1]
    assert last.startswith(
        f"error: process {1 - index} of 2 was ended from outside, or another one"
    )


def test_a_process_is_read_from_the_environment():
    address, count, index = hosts.ENV_VARS
    assert hosts.read_environment({"PATH": "/bin"}) == {}
    assert hosts.read_environment({address: "a:1", count: "4", index: "3"}) == {
        "coordinator_address": "a:1",
        "num_processes": 4,
        "process_id": 3,
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("a:1 4", "JAX_COORDINATOR_ADDRESS and JAX_NUM_PROCESSES are set and JAX_PROCESS_ID not"),
        ("a:1 4 4", "JAX_PROCESS_ID is '4' and JAX_NUM_PROCESSES '4': give each process its"),
        ("a:1 four 0", "JAX_NUM_PROCESSES 'four'"),
    ],
)
def test_an_incomplete_environment_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        hosts.read_environment(dict(zip(hosts.ENV_VARS, given.split(), strict=False)))


@pytest.mark.slow
def test_losses_and_samples_are_the_same_on_every_mesh(chameleon, tmp_path):
    found = {}
    for shape in ((8, 1, 1), (1, 8, 1), (2, 2, 2), (4, 1, 2)):
        mesh = meshes.make(*shape)
        c = base.grpo(1e-3, 12, max_steps=5, prompts_per_step=8, num_generations=2) | {
            "reward_funcs": (f"{ROOT}/tests/rewards/some_rewards.py:length",),
            "reward_weights": (),
            "log_completions_steps": 1,
            "length_multiple": 4,
        }
        variables = jax.tree.map(jnp.copy, chameleon.variables)
        variables = jax.device_put(variables, meshes.shardings(variables, mesh))
        examples = [Example(f"q/{n}", ("abcdefgh"[: 1 + n % 8],), "a") for n in range(16)]
        workdir = tmp_path / "x".join(map(str, shape))
        rows = data.Rendered(examples, chameleon.backbone.renderer.prompt)
        trained, _ = grpo.run(
            chameleon.backbone, variables, lambda rows=rows: grpo.Questions(rows), c, mesh=mesh,
            key=jax.random.key(7), seed=1, workdir=workdir,
        )  # fmt: skip
        replies = [
            r["reply"] for p in sorted(workdir.glob("completions/*.jsonl")) for r in lines(p)
        ]
        losses = [(m["loss"], m["grad_norm"]) for m in lines(workdir / "metrics.jsonl")]
        found[shape] = replies, losses, jax.tree.map(np.asarray, trained["lora"])
    (replies, losses, lora), *others = found.values()
    assert len(replies) == 80 and len(set(replies)) > 40
    for own, own_losses, own_lora in others:
        assert own == replies
        np.testing.assert_allclose(own_losses, losses, atol=1e-5)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), own_lora, lora)


@pytest.mark.slow
def test_a_repository_is_the_same_commit_in_all_processes_or_is_refused_by_all(tmp_path):
    for end in together(*[("tests/helpers/repositories.py", tmp_path)] * 2):
        assert end.status == 2, end.output
        assert "error: process 1: org/half is no folder here and not in the Hu" in end.output
