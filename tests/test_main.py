"""The command: its errors, its files, and that a killed run repeats itself exactly."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.flags import REWARDS, ROOT, flags
from PIL import Image
from safetensors.numpy import load_file, save_file

from mmcot_jax import main as command
from mmcot_jax.models import chameleon


def refused(capfd, workdir, *overrides: str, preset: str = "tiny") -> str:
    """The one line a wrong command prints; nothing was trained."""
    assert command.main(flags(workdir, *overrides, preset=preset)) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    assert not (pathlib.Path(workdir) / "metrics.jsonl").exists()
    return lines[0]


def metrics(workdir) -> list[dict]:
    lines = (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def losses(workdir) -> dict[int, tuple[float, float]]:
    return {m["step"]: (m["loss"], m["grad_norm"]) for m in metrics(workdir) if m["stage"] == "sft"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run from start to end."""
    workdir = tmp_path_factory.mktemp("run")
    assert command.main(flags(workdir)) == 0
    return workdir


@pytest.mark.slow
def test_a_run_leaves_config_metrics_results_completions_and_checkpoints(finished):
    recorded = json.loads((finished / "config.json").read_text())
    assert recorded["sft"]["max_steps"] == 6
    assert recorded["command"].startswith("python -m mmcot_jax.main --config /")
    assert [m["step"] for m in metrics(finished) if m["stage"] == "sft"] == list(range(6))
    results = json.loads((finished / "results.json").read_text())["puzzlevqa"]
    assert set(results["strict"]["kinds"]) == {"color_grid", "size_cycle"}
    assert results["strict"]["kinds"]["color_grid"]["domain"] == "in_domain"
    assert results["strict"]["kinds"]["size_cycle"]["domain"] == "out_of_domain"
    rows = [
        json.loads(line) for line in (finished / "completions/eval.jsonl").read_text().splitlines()
    ]
    assert len(rows) == 6 and {"id", "prompt", "reply", "letter", "pictures"} <= set(rows[0])
    for row in rows:
        for name in row["pictures"]:
            assert np.asarray(Image.open(finished / "completions" / name)).shape == (64, 64, 3)
    assert sorted(p.name for p in (finished / "checkpoints/sft").iterdir()) == ["2", "4", "6"]
    for stage in ("sft", "grpo"):
        assert list((finished / "tensorboard" / stage).iterdir())
    steps = [m for m in metrics(finished) if m["stage"] == "grpo"]
    assert [m["step"] for m in steps] == [0, 1, 2, 3]
    assert ["eval_accuracy" in m for m in steps] == [False, True, False, True]
    assert sum(1 for _ in open(finished / "completions/grpo_step_00002.jsonl")) == 16


@pytest.mark.slow
def test_score_gives_the_accuracy_of_the_results(finished, capsys):
    from mmcot_jax import score

    assert score.main(["--metric", "puzzle", str(finished / "completions/eval.jsonl")]) == 0
    said = json.loads(capsys.readouterr().out)
    results = json.loads((finished / "results.json").read_text())["puzzlevqa"]["strict"]
    assert said["n"] == 6 and said["accuracy"] == pytest.approx(results["accuracy"])


@pytest.mark.slow
@pytest.mark.parametrize("last", [1, 3])
def test_a_killed_run_resumes_and_repeats_the_uninterrupted_losses_exactly(
    finished, tmp_path, last
):
    """SIGKILL once step `last` is logged; the same command again completes the run."""
    log = tmp_path / "metrics.jsonl"
    arguments = [sys.executable, "-m", "mmcot_jax.main", *flags(tmp_path)]
    process = subprocess.Popen(arguments, cwd=ROOT)
    deadline = time.monotonic() + 240
    while not (log.exists() and len(log.read_text().splitlines()) > last):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert command.main(flags(tmp_path)) == 0
    assert losses(tmp_path) == losses(finished)
    assert (tmp_path / "results.json").read_text() == (finished / "results.json").read_text()


def learned(workdir) -> list[dict]:
    """The metrics of each GRPO step, without times."""
    timed = ("time/", "tokens_per_second/", "step_time")
    return [
        {k: v for k, v in m.items() if not k.startswith(timed)}
        for m in metrics(workdir)
        if m["stage"] == "grpo"
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "number"),
    # the look ahead and the evaluation sample too; steps 1, 2 and 3 are stopped
    [("sampling", 5), ("scoring", 4), ("update", 2)],
)
def test_grpo_killed_in_any_phase_resumes_and_repeats_rewards_and_losses_exactly(
    finished, tmp_path, phase, number
):
    script = str(ROOT / "tests" / "helpers" / "killed.py")
    arguments = [sys.executable, script, "KILL", phase, str(number), *flags(tmp_path)]
    ended = subprocess.run(arguments, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert ended.returncode == -signal.SIGKILL
    assert 0 < len(learned(tmp_path)) < 4
    assert command.main(flags(tmp_path)) == 0
    assert learned(tmp_path) == learned(finished)
    assert (tmp_path / "results.json").read_text() == (finished / "results.json").read_text()


@pytest.mark.slow
def test_a_finished_run_goes_on_for_longer_and_with_smaller_micro_batches(finished, tmp_path):
    """As after an out-of-memory: the same samples, and sums that are equal up to rounding."""
    shorter = ("stages=sft,grpo", "grpo.eval_steps=0", "grpo.num_completions_to_print=0")
    one_part = ("grpo.max_steps=2", "grpo.gradient_accumulation_steps=1")
    assert command.main(flags(tmp_path, *shorter, *one_part)) == 0
    assert (tmp_path / "finished").exists() and len(learned(tmp_path)) == 2
    assert command.main(flags(tmp_path, *shorter)) == 0
    assert (tmp_path / "finished").exists()
    ours, theirs = learned(tmp_path), learned(finished)
    assert [m["step"] for m in ours] == [0, 1, 2, 3]
    for name in ("reward", "loss", "grad_norm", "completions/mean_length"):
        for here, there in zip(ours, theirs, strict=True):
            assert here[name] == pytest.approx(there[name], rel=1e-4, abs=1e-6), name
    step = "completions/grpo_step_00002.jsonl"
    replies, expected = (
        [json.loads(line)["reply"] for line in (w / step).read_text().splitlines()]
        for w in (tmp_path, finished)
    )
    assert replies == expected
    recorded = json.loads((tmp_path / "config.json").read_text())["changes"]
    assert {x["key"]: (x["from"], x["to"]) for x in recorded} == {
        "grpo.max_steps": (2, 4),
        "grpo.gradient_accumulation_steps": (1, 2),
    }
    assert {(x["at"]["stage"], x["at"]["step"]) for x in recorded} == {("grpo", 2)}


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["imports", "drawing"])
def test_a_sigterm_to_the_group_during_the_start_up_ends_it_with_one_line(tmp_path, moment):
    given = flags(tmp_path / "run", "data.train.count=5000", "data.train.processes=2")
    process = subprocess.Popen(
        [sys.executable, "-m", "mmcot_jax.main", *given, "--config.data.train.progress=false"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    if moment == "drawing":
        while _processes(process.pid) < 4:  # its two workers, and multiprocessing's tracker
            assert process.poll() is None
            time.sleep(0.05)
    else:
        while not _catches(process.pid, signal.SIGTERM):
            assert process.poll() is None
            time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert said.decode() == f"{command.NOTHING_TO_SAVE}\n" and process.returncode == 0
    assert not (tmp_path / "run/lock.json").exists()
    end = time.monotonic() + 10
    while _processes(process.pid) and time.monotonic() < end:  # the tracker ends after its parent
        time.sleep(0.05)
    assert _processes(process.pid) == 0


def _catches(pid: int, number: signal.Signals) -> bool:
    """True once the process has a handler for the signal."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    (caught,) = re.findall(r"^SigCgt:\s*(\w+)", status, re.M)
    return bool(int(caught, 16) >> (number - 1) & 1)


def _processes(group: int) -> int:
    """Number of living processes of a group."""
    count = 0
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        count += int(of_group) == group and state != "Z"
    return count


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_and_names_the_step(capfd, tmp_path):
    assert command.main(flags(tmp_path, "sft.learning_rate=1e30", "sft.warmup_steps=0")) == 2
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: sft step ") and "nan" in line
    assert not (tmp_path / "results.json").exists()


def test_an_unknown_preset_is_refused_with_the_presets(capfd, tmp_path):
    assert "7b, 7b-text, tiny, tiny-text" in refused(capfd, tmp_path, preset="small")


def test_a_misspelt_key_is_refused_with_the_key_that_is_meant(capfd, tmp_path):
    assert "did you mean 'sft.learning_rate'" in refused(capfd, tmp_path, "sft.learning_rat=1")


def test_missing_weights_are_refused(capfd, tmp_path):
    line = refused(capfd, tmp_path, "model.weights=/nowhere/anole")
    assert "/nowhere/anole" in line


def test_every_fault_of_a_checkpoint_is_listed(capfd, tmp_path):
    whole = load_file(pathlib.Path(chameleon.__file__).with_name("tiny_vqgan.safetensors"))
    names = sorted(whole)
    broken = {k: v for k, v in whole.items() if k != names[0]}
    broken[names[1]] = np.zeros((1, 2, 3), np.float16)
    save_file(broken | {"surplus.weight": np.zeros(3, np.float16)}, tmp_path / "broken.safetensors")
    path = tmp_path / "broken.safetensors"
    line = refused(capfd, tmp_path / "run", f"model.vqgan_weights={path}")
    assert names[0] in line and names[1] in line and "surplus.weight" in line


def test_a_workdir_of_another_config_is_refused_with_the_difference(capfd, tmp_path):
    from mmcot_jax import config

    config.write(tmp_path / "config.json", config.parse_args(flags(tmp_path)).config, {})
    (tmp_path / "checkpoints").mkdir()
    line = refused(capfd, tmp_path, "sft.batch_size=8")
    assert "sft.batch_size is 8 here and 16 there" in line
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoints", "config.json"}  # no lock is left


def test_a_second_run_in_a_workdir_is_refused_with_the_first(capfd, tmp_path):
    from mmcot_jax import lock

    with lock.hold(tmp_path):
        line = refused(capfd, tmp_path)
        assert line.startswith(f"error: {tmp_path} is in use by process {os.getpid()} on ")
        assert [p.name for p in tmp_path.iterdir()] == [lock.FILE]


def test_a_refused_run_leaves_no_folder(capfd, tmp_path):
    refused(capfd, tmp_path / "runs/a", "sft.batch_size=6", "sft.gradient_accumulation_steps=4")
    assert list(tmp_path.iterdir()) == []


def test_a_puzzle_record_without_its_image_is_refused(capfd, tmp_path):
    record = {
        "image": "images/color_grid/color_grid_0000.png",
        "question": "What is the color of the missing part denoted with a question mark?",
        "answer": "orange",
        "options": ["green", "red", "orange", "yellow"],
        "caption": "There are circles with different colors arranged with a grid formation in the "
        "image. The colors in the first row are ['red', 'orange', 'red'], the colors in the second "
        "row are ['orange', 'blue', 'orange'], and the colors in the third row are ['red', '?', "
        "'red'].",
        "explanation": "",
        "deduction": "",
    }
    (tmp_path / "color_grid.json").write_text(json.dumps(record) + "\n")
    line = refused(
        capfd,
        tmp_path / "run",
        f"eval.data.released={tmp_path}",
        "eval.data.kinds=color_grid",
        "eval.count=1",
    )
    assert "color_grid" in line and "image" in line


def test_a_prompt_longer_than_the_context_is_refused_with_record_length_and_limit(capfd, tmp_path):
    line = refused(capfd, tmp_path, "model.context=146", "stages=eval", "model.weights=none")
    assert "'size_cycle/test/00000' has a prompt of 75 tokens" in line
    assert "context of 146 less eval.max_completion_length 72 leaves 74" in line


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("model.context=100",), "'color_grid/train/00000' is "),
        (("model.context=100", "stages=grpo"), "'color_grid/train/00000' has a prompt of "),
        (("data.store=nowhere",), "nowhere holds no prepared store"),
        (("grpo.image_reward_funcs=short",), "has 'short', which is none of grpo.reward_funcs"),
    ],
)
def test_what_can_be_known_before_the_puzzles_is_said_before_they_are_drawn(
    capfd, tmp_path, overrides, said
):
    many = ("data.train.count=50000", "data.grpo.count=50000", "eval.count=90", "seed=1")
    assert said in refused(capfd, tmp_path, *many, *overrides)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("grpo.image_reward_funcs={r}:length",), "has all of grpo.reward_funcs"),
        (
            ("grpo.reward_funcs=format,{r}:length", "grpo.image_reward_funcs={r}:length",
             "grpo.reward_weights=1.0,1.0", "grpo.importance_sampling_level=sequence",
             "grpo.image_weight=1"),
            "image_reward_funcs gives image tokens another advantage than text, and grpo.import",
        ),
        (
            ("grpo.reward_funcs=format,{r}:length", "grpo.image_reward_funcs={r}:length",
             "grpo.reward_weights=1.0,1.0", "grpo.image_weight=0"),
            "grpo.image_weight 0, which leaves image tokens out of the loss",
        ),
        (
            ("grpo.reward_funcs=format,{r}:length", "grpo.image_reward_funcs={r}:length",
             "grpo.reward_weights=0.0,1.0"),
            "has all of grpo.reward_funcs but format, whose weight is 0, and text tokens would",
        ),
        (
            ("grpo.reward_funcs=format,{r}:length", "grpo.image_reward_funcs={r}:length",
             "grpo.reward_weights=1.0,0.0"),
            "and grpo.reward_weights has 0 for all of them; set the first to (), or a weight to",
        ),
        (
            ("grpo.process_reward_funcs=short",),
            "grpo.process_reward_funcs has 'short', which is none of grpo.reward_funcs",
        ),
        (
            ("grpo.reward_funcs=format,{r}:length", "grpo.process_reward_funcs=format",
             "grpo.reward_weights=1.0,1.0", "grpo.importance_sampling_level=sequence"),
            "grpo.process_reward_funcs gives tokens of a sequence different advantages, and",
        ),
        (
            ("grpo.reward_funcs=format,{r}:length", "grpo.process_reward_funcs=format",
             "grpo.reward_weights=0.0,1.0"),
            "grpo.process_reward_funcs has 'format', whose weight in grpo.reward_weights is 0",
        ),
        (
            ("grpo.reward_funcs=format,{r}:length", "grpo.image_reward_funcs=format",
             "grpo.process_reward_funcs=format", "grpo.reward_weights=1.0,1.0",
             "grpo.image_weight=1"),
            "'format' is in grpo.process_reward_funcs and in grpo.image_reward_funcs",
        ),
    ],
)  # fmt: skip
def test_rewards_of_pictures_or_parts_that_credit_nothing_are_refused(
    capfd, tmp_path, overrides, said
):
    assert said in refused(capfd, tmp_path, *(o.format(r=REWARDS) for o in overrides))


def test_an_unknown_stage_is_refused_with_the_stages(capfd, tmp_path):
    assert "there are: sft, grpo, eval" in refused(capfd, tmp_path, "stages=sft,evaluate")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("grpo.num_generations=1", "give a whole number of 2 or more"),
        ("grpo.reward_weights=1.0,0.5", "2 reward_weights (1.0, 0.5) for 1 reward_funcs"),
        ("grpo.reward_funcs=acuracy", "did you mean 'accuracy'"),
        ("grpo.loss_type=ppo", "choose from grpo, bnpo, dr_grpo, dapo, cispo, sapo"),
        ("grpo.sync_ref_model=true", "there is no config key 'grpo.sync_ref_model'"),
        ("grpo.load_best_model_at_end=true", "eval_steps is 0"),
    ],
)
def test_a_grpo_that_cannot_run_is_refused(capfd, tmp_path, override, said):
    assert said in refused(capfd, tmp_path, "grpo.eval_steps=0", override)


def test_a_batch_that_does_not_divide_is_refused_with_both_numbers(capfd, tmp_path):
    line = refused(capfd, tmp_path, "sft.batch_size=6", "sft.gradient_accumulation_steps=4")
    assert "6" in line and "4" in line
