"""Trackers: what they are sent, that a resumed run is one run there, and that none stops a run."""

import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.flags import flags

from mmcot_jax import main, trackers
from mmcot_jax.log import Log, write_completions

STAND_IN = '''
"""A library of wandb's shape: writes the calls into a file; raises or hangs where it is told to."""
import json, pathlib, time
HERE = pathlib.Path(__file__).parent

def _call(called, **given):
    with open(HERE / "calls.jsonl", "a") as file:
        file.write(json.dumps({"call": called, **given}, default=repr) + "\\n")
    how = json.loads((HERE / "how.json").read_text()).get(called)
    if how == "hang":
        time.sleep(1000)
    if how:
        raise ConnectionError(how)

class Image:
    def __init__(self, value):
        self.size = value.size
    def __repr__(self):
        return f"image {self.size}"

class Table:
    def __init__(self, columns, data):
        self.columns, self.data = columns, data
    def __repr__(self):
        return json.dumps([self.columns, self.data], default=repr)

class Config:
    def update(self, values, allow_val_change=False):
        _call("config", values=values)

class Run:
    config = Config()
    def define_metric(self, name, **options):
        _call("define", metric=name, **options)
    def log(self, values):
        _call("log", values=values)
    def finish(self):
        _call("finish")

def init(**given):
    _call("init", **given)
    return Run()

class setup:
    class settings:
        mode = "online"

def login(prompt, verify):
    return json.loads((HERE / "how.json").read_text()).get("key", False)
'''


@pytest.fixture
def library(tmp_path, monkeypatch):
    """The stand-in, and the calls it got."""
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "wandb.py").write_text(STAND_IN)
    (folder / "how.json").write_text("{}")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(trackers, "_hangs", False)  # and restored: the suite's process goes on
    yield folder
    sys.modules.pop("wandb", None)


def calls(library: pathlib.Path, name: str = "") -> list[dict]:
    path = library / "calls.jsonl"
    every = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [call for call in every if call["call"] == name or not name]


def steps(workdir, first: int, last: int, config=None):
    """A part of a run: three steps, and the completions of each."""
    with (
        trackers.track("wandb", "words", workdir, config or {"seed": 1}),
        Log(workdir, "grpo", 9, start=first) as log,
    ):
        for step in range(first, last):
            log.write(step, {"reward": step / 2, "kl": float("nan")})
            drawn = [[np.zeros((4, 6, 3), np.uint8)], []]
            rows = [{"id": "a", "reply": "x", "boxes": [1]}, {"id": "b", "reply": "y", "boxes": []}]
            write_completions(workdir / f"completions/grpo_step_{step:05}.jsonl", rows, drawn)


def test_metrics_config_and_completions_are_sent_with_their_pictures(tmp_path, library):
    steps(tmp_path / "run", 0, 2)
    assert [c["call"] for c in calls(library)] == [
        "init", "config", "define", "define", "log", "log", "log", "log", "finish"
    ]  # fmt: skip
    (began,) = calls(library, "init")
    assert (began["project"], began["name"], began["resume"]) == ("words", "run", "allow")
    assert calls(library, "config")[0]["values"] == {"seed": 1}
    assert calls(library, "define")[1] == {
        "call": "define", "metric": "grpo/*", "step_metric": "grpo/step"
    }  # fmt: skip
    numbers, table, second, _ = (c["values"] for c in calls(library, "log"))
    assert numbers == {"grpo/step": 0, "grpo/reward": 0.0}  # NaN is no number there
    assert second == {"grpo/step": 1, "grpo/reward": 0.5}
    columns, data = json.loads(table["completions/grpo/step_00000"])
    assert columns == ["id", "reply", "boxes", "picture 0"]
    assert data == [["a", "x", "[1]", "image (6, 4)"], ["b", "y", "[]", None]]


def test_a_resumed_run_is_the_same_run_there(tmp_path, library):
    steps(tmp_path / "run", 0, 1)
    steps(tmp_path / "run", 1, 2, {"seed": 2})
    first, second = (call["id"] for call in calls(library, "init"))
    assert first == second
    assert json.loads((tmp_path / "run/tracker.json").read_text()) == {
        "wandb": {"project": "words", "id": first}
    }
    with trackers.track("wandb", "other", tmp_path / "run", {}):
        pass
    assert calls(library, "init")[2]["id"] != first


@pytest.mark.parametrize(
    ("where", "said", "lost"),
    [
        ("init", "wandb cannot begin (ConnectionError: no network): the run goes on without it", 6),
        ("log", "wandb failed (ConnectionError: no network): the run goes on without it", 6),
        ("finish", "wandb failed at its end (ConnectionError: no network): the run goes on w", 0),
    ],
)
def test_a_tracker_that_fails_is_named_once_and_its_records_are_counted(
    tmp_path, library, capfd, where, said, lost
):
    (library / "how.json").write_text(json.dumps({where: "no network"}))
    steps(tmp_path / "run", 0, 3)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("wandb")]
    missing = [f"wandb: {lost} records are missing there"] * bool(lost)
    assert lines[0].startswith(said) and lines[1:] == missing
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(("where", "lost"), [("init", 6), ("log", 6)])
def test_a_tracker_that_hangs_does_not_hold_up_a_run(
    tmp_path, library, capfd, monkeypatch, where, lost
):
    (library / "how.json").write_text(json.dumps({where: "hang"}))
    monkeypatch.setattr(trackers, "END_SECONDS", 0.3)
    began = time.monotonic()
    steps(tmp_path / "run", 0, 3)
    assert time.monotonic() - began < 100
    said = capfd.readouterr().err
    assert "wandb does not end within 0 s: the run goes on without it" in said
    assert f"wandb: {lost} records are missing there" in said


EXIT = """
import atexit, pathlib, sys, time
sys.path.insert(0, sys.argv[1])
from mmcot_jax import hosts, trackers
trackers.END_SECONDS = 0.3

def main(argv):
    atexit.register(time.sleep, 1000)  # as a library that waits for its network
    with trackers.track("wandb", "p", pathlib.Path(sys.argv[1]), {}):
        print("done", end="")
    return 0

hosts.run_and_exit(main, [])
"""


@pytest.mark.slow
def test_a_process_ends_although_its_tracker_does_not(library):
    (library / "how.json").write_text('{"init": "hang"}')
    argv = [sys.executable, "-c", EXIT, str(library)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stdout) == (0, "done")
    assert "wandb does not end within 0 s: the run goes on without it" in ended.stderr


def test_a_tracker_that_is_behind_loses_records_and_not_memory(
    tmp_path, library, capfd, monkeypatch
):
    (library / "how.json").write_text(json.dumps({"init": "hang"}))
    monkeypatch.setattr(trackers, "END_SECONDS", 0.3)
    monkeypatch.setattr(trackers, "WAITING", 2)
    steps(tmp_path / "run", 0, 3)
    said = capfd.readouterr().err
    assert said.count("wandb is behind by 2 records: the run goes on") == 1


def test_nothing_is_sent_without_a_tracker_or_from_another_process(tmp_path, library):
    with trackers.track("none", "p", tmp_path, {}), Log(tmp_path, "sft", 3) as log:
        log.write(0, {"loss": 1.0})
    with (
        trackers.track("wandb", "p", tmp_path, {}),
        Log(tmp_path, "sft", 3, process_index=1) as log,
    ):
        log.write(0, {"loss": 1.0})
    assert not calls(library, "log")


def test_a_library_that_is_not_there_is_one_line_before_anything_is_done(
    tmp_path, capfd, monkeypatch
):
    (tmp_path / "mlflow.py").write_text("import no_such_module_at_all")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    assert main.main(flags(tmp_path / "run", "log.tracker=mlflow")) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith("error: log.tracker is 'mlflow', which cannot be imported (No module ")
    assert "pip install 'mmcot_jax[mlflow]', or set log.tracker=none" in line
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_a_wandb_without_a_key_is_one_line_and_never_a_question(library):
    with pytest.raises(ValueError, match="'wandb', which has no key here; run `wandb login`, or"):
        trackers.check("wandb")
    (library / "how.json").write_text('{"key": true}')
    trackers.check("wandb")
    trackers.check("none")


@pytest.mark.parametrize(
    ("stem", "named"),
    [
        ("grpo_step_00010", ("completions/grpo", 10)),
        ("grpo_step_00010_3", ("completions/grpo", 10)),  # process 3
        ("eval_grpo_step_00050_gqa", ("completions/eval_grpo_gqa", 50)),
        ("eval_shapes", ("completions/eval_shapes", 0)),
    ],
)
def test_a_table_is_named_after_its_file(stem, named):
    assert trackers.table_name(stem) == named


@pytest.mark.parametrize("name", list(trackers.TRACKERS))
def test_the_library_itself_takes_a_run_and_its_continuation(tmp_path, monkeypatch, capfd, name):
    pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trackers, "END_SECONDS", 120.0)  # MLflow makes its tables first
    for key, value in {
        "WANDB_MODE": "offline",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }.items():
        monkeypatch.setenv(key, value)
    for first in (0, 2):
        with trackers.track(name, "words", tmp_path / "run", {"seed": 1, "grpo": {"lr": 0.1}}):
            with Log(tmp_path / "run", "grpo", 9, start=first) as log:
                log.write(first, {"pass@1": 0.5})
            write_completions(
                tmp_path / f"run/completions/grpo_step_{first:05}.jsonl",
                [{"id": "a", "reply": "x"}, {"id": "b", "reply": "y"}],
                [[np.full((4, 6, 3), 9, np.uint8)], []],
            )
    said = capfd.readouterr().err
    assert "goes on without it" not in said and "missing there" not in said
    assert set(json.loads((tmp_path / "run/tracker.json").read_text())) == {name}
