"""A checkpoint series: names, rows, and that each checkpoint is evaluated once."""

import hashlib
import json
import signal
import subprocess
import sys
import time

import pytest
from helpers.flags import ROOT, TINIEST, flags

from mmcot_jax import ckpt, main, series
from mmcot_jax.evals import table
from mmcot_jax.report.__main__ import main as report

STAGES = ("sft", "grpo")


@pytest.fixture
def run(tmp_path):
    """A run with whole checkpoints: the best of grpo is its step 2."""
    for name in ("sft/2", "grpo/1", "grpo/2", "grpo/3", "grpo_best/2"):
        folder = tmp_path / "checkpoints" / name
        (folder / "data").mkdir(parents=True)
        (folder / "data/metadata").write_text(json.dumps({"step": 2, "total_steps": 3}))
        ckpt.write_manifest(folder, int(folder.name))
    return tmp_path


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("all",), ["sft:2", "grpo:1", "grpo:2", "grpo:3"]),
        (("grpo",), ["grpo:1", "grpo:2", "grpo:3"]),
        (("grpo:3", "sft:2", "grpo:1", "grpo:3"), ["sft:2", "grpo:1", "grpo:3"]),
        (("sft:last", "grpo:last", "grpo:best"), ["sft:2", "grpo:2", "grpo:3"]),
    ],
)
def test_checkpoints_are_found_by_name_in_order_and_once(run, names, found):
    series.check(names, STAGES)
    assert [f"{c.stage}:{c.step}" for c in series.find(run, STAGES, names)] == found


def test_a_step_that_is_kept_twice_is_read_from_the_folder_of_its_stage(run):
    chosen = {c.step: c.checkpoint for c in series.find(run, ("grpo",), ("all",))}
    assert chosen == {1: "last", 2: "last", 3: "last"}
    assert series.find(run, STAGES, ("grpo:best",))[0].folder.parent.name == "grpo_best"


@pytest.mark.parametrize("name", ["alll", "rl", "grpo:", "grpo:first", "grpo:-1", "all:3", "eval"])
def test_a_name_that_is_none_is_one_line(name):
    with pytest.raises(ValueError, match=f"^eval.checkpoints has '{name}'.*; give all, or STAGE"):
        series.check((name,), STAGES)


def test_a_checkpoint_that_is_not_there_is_named_with_those_there_are(run):
    said = r"'grpo:9', which is not in .*checkpoints; there are: sft:2 last, grpo:2 best, grpo:1 "
    with pytest.raises(ValueError, match=said):
        series.find(run, STAGES, ("grpo:1", "grpo:9"))
    with pytest.raises(ValueError, match="and no stage trains: there will be no checkpoint"):
        series.check(("all",), ())


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "[1]", '[{"stage": "sft"}]'])
def test_a_damaged_series_is_one_line(tmp_path, text):
    assert table.read_series(tmp_path) == []
    (tmp_path / "series.json").write_text(text)
    with pytest.raises(ValueError, match=r"series.json is no series of checkpoints; remove it"):
        table.read_series(tmp_path)


def test_results_of_sets_that_were_evaluated_before_are_kept():
    before = {"a": {"x": 1}, "eval": {"a": {"n": 2}}, "policy": {"step": 1}}
    now = {"b": {"x": 3}, "eval": {"b": {"n": 4}}, "policy": {"step": 1}}
    merged = series._merge(before, now)
    assert merged["eval"] == {"a": {"n": 2}, "b": {"n": 4}} and {"a", "b"} <= merged.keys()


TINY = (
    *TINIEST, "sft.max_steps=2", "grpo.max_steps=7", "grpo.save_steps=1", "grpo.preflight=false",
    "grpo.save_total_limit=None", "grpo.log_completions_steps=0",
)  # fmt: skip


def contents(folder) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_a_killed_series_of_a_finished_run_goes_on_and_evaluates_each_once(tmp_path, capfd):
    workdir = tmp_path / "run"
    assert main.main(flags(workdir, *TINY)) == 0
    kept, results = contents(workdir / "checkpoints"), (workdir / "results.json").read_bytes()
    argv = flags(workdir, *TINY, "eval.checkpoints=all")
    with open(tmp_path / "killed.log", "w") as log:
        first = subprocess.Popen(
            [sys.executable, "-m", "mmcot_jax.main", *argv], cwd=ROOT, stdout=log, stderr=log
        )
        while first.poll() is None and len(table.read_series(workdir)) < 3:
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    before = table.read_series(workdir)
    files = {path: path.stat().st_mtime_ns for path in (workdir / "completions").glob("*.jsonl")}
    capfd.readouterr()
    assert main.main(argv) == 0
    said = capfd.readouterr().err
    rows = table.read_series(workdir)
    steps = [("sft", 2), *(("grpo", step) for step in range(1, 8))]
    assert [(row["stage"], row["step"]) for row in rows] == steps
    assert 3 <= len(before) < 8 and rows[: len(before)] == before
    evaluated = [line for line in said.splitlines() if line.endswith("evaluating its checkpoint")]
    assert len(evaluated) == 8 - len(before)
    done = [workdir / f"completions/eval_{r['stage']}_step_{r['step']:05}.jsonl" for r in before]
    assert all(path.stat().st_mtime_ns == files[path] for path in done)
    # as the last evaluation, since its weights and its noise are the same
    assert rows[-1]["results"]["puzzlevqa"] == json.loads(results)["puzzlevqa"]
    assert rows[-1]["total_steps"] == 7 and rows[-1]["start"] == {"stage": "sft", "step": 2}
    assert contents(workdir / "checkpoints") == kept
    assert (workdir / "results.json").read_bytes() == results and (workdir / "finished").is_file()
    assert json.loads((workdir / "config.json").read_text())["eval"]["checkpoints"] == ["all"]
    lines = (workdir / "completions/eval_grpo_step_00007.jsonl").read_text().splitlines()
    for line in lines:
        (shown,) = json.loads(line)["prompt_pictures"]
        assert shown.startswith("prompts/") and (workdir / "completions" / shown).is_file()
    assert report([str(workdir), "--out", str(tmp_path / "page")]) == 0
    assert (tmp_path / "page/series.png").stat().st_size > 5_000
    _shows_what_is_complete(workdir, argv, capfd)


def _shows_what_is_complete(workdir, argv, capfd):
    """A finished run that is started again shows its results and computes nothing."""
    there = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
    capfd.readouterr()
    assert main.main(argv) == 0
    said = capfd.readouterr()
    remove = "to evaluate again, remove results.json and series.json there"
    assert said.err == f"{workdir}: all stages are complete; {remove}\n"
    assert "run" in said.out and "color_grid" in said.out
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()} == there
