"""Metrics, events, progress and completions of a run."""

import io
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
import rich.console
import tensorboardX
from PIL import Image
from tensorboardX.record_writer import RecordWriter

from mmcot_jax import events, log


def lines(workdir) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def quiet() -> rich.console.Console:
    return rich.console.Console(file=io.StringIO(), width=200)


def run(workdir, steps, stage="sft", **options):
    with log.Log(workdir, stage, 10, console=quiet(), **options) as entries:
        for step in steps:
            entries.write(step, {"loss": 1 / (step + 1)})
            entries.advance(step)


def test_numbers_are_written_as_numbers(tmp_path):
    metrics = {"loss": np.float32(0.5), "tokens": np.int64(7), "kl": math.nan, "lr": np.array(1e-3)}
    with log.Log(tmp_path, "sft", 2, console=quiet()) as entries:
        entries.write(0, metrics)
    assert lines(tmp_path) == [
        {"stage": "sft", "step": 0, "loss": 0.5, "tokens": 7, "kl": None, "lr": 0.001}
    ]


def test_a_resumed_run_has_every_step_once(tmp_path):
    run(tmp_path, range(2), stage="warm")
    run(tmp_path, range(5))
    run(tmp_path, range(3, 6), start=3)
    found = [(entry["stage"], entry["step"]) for entry in lines(tmp_path)]
    assert found == [("warm", 0), ("warm", 1)] + [("sft", step) for step in range(6)]


def test_an_incomplete_last_line_is_dropped(tmp_path):
    run(tmp_path, range(2))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"stage": "sft", "st')
    run(tmp_path, range(2, 4), start=2)
    assert [entry["step"] for entry in lines(tmp_path)] == [0, 1, 2, 3]


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\xff\xfe", b'{"stage": "sft", "step": 2}'])
def test_whatever_follows_the_last_whole_line_is_dropped(tmp_path, tail):
    run(tmp_path, range(2))
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(tail)
    run(tmp_path, range(2, 4), start=2)
    assert [entry["step"] for entry in lines(tmp_path)] == [0, 1, 2, 3]


def test_a_lost_file_is_told_and_its_curves_stay(tmp_path, capsys):
    run(tmp_path, range(4))
    (tmp_path / "metrics.jsonl").unlink()
    run(tmp_path, range(3, 5), start=3)
    assert [entry["step"] for entry in lines(tmp_path)] == [3, 4]
    assert curves(tmp_path) == [0, 1, 2, 3, 4]
    (line,) = capsys.readouterr().err.splitlines()
    assert "metrics.jsonl is gone, and with it the metrics of sft before step 3" in line
    run(tmp_path / "new", range(2))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("line", [b"\0\0", b"[]", b"\xff", b'{"step": 1}', b'{"stage": "sft"}'])
def test_a_broken_line_before_the_last_is_named(tmp_path, line):
    whole = b'{"stage": "sft", "step": 0}\n'
    (tmp_path / "metrics.jsonl").write_bytes(whole + line + b"\n" + whole)
    with pytest.raises(ValueError, match=r"metrics.jsonl:2 is not a line of metrics: remove the"):
        log.Log(tmp_path, "sft", 10)


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"stage": "sft", "step": 0}\n{"step"\n{}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl:2 is not a line of metrics"):
        log.Log(tmp_path, "sft", 10)


@pytest.mark.parametrize("value", ["0.5", np.ones(2), jnp.float32(1)])
def test_only_host_numbers_are_logged(tmp_path, value):
    with log.Log(tmp_path, "sft", 2, console=quiet()) as entries:
        with pytest.raises(ValueError, match="metric 'loss' is a"):
            entries.write(0, {"loss": value})


def test_other_processes_write_nothing(tmp_path):
    with log.Log(tmp_path / "run", "sft", 2, process_index=1) as entries:
        entries.write(0, {"loss": 1.0})
        entries.advance(0)
    assert not (tmp_path / "run").exists()


def curves(workdir, stage="sft", tag="loss") -> list[int]:
    """The steps of a curve, in the order of the event files."""
    return [
        event.step
        for path in sorted((workdir / "tensorboard" / stage).glob(events.PATTERN))
        for _, event in events.read(path)
        for value in event.summary.value
        if value.tag == tag
    ]


def test_tensorboard_has_a_step_as_soon_as_it_is_written(tmp_path):
    with log.Log(tmp_path, "sft", 10, console=quiet()) as entries:
        entries.write(0, {"loss": 0.5, "eval_pass@1": 1, "kl": math.nan})
        (path,) = (tmp_path / "tensorboard/sft").glob(events.PATTERN)
        _, (_, event) = events.read(path)
    assert {v.tag: v.simple_value for v in event.summary.value} == {"loss": 0.5, "eval_pass_1": 1.0}
    assert event.step == 0 and abs(event.wall_time - path.stat().st_mtime) < 60


def test_an_event_file_has_the_bytes_of_tensorboards_format(tmp_path):
    writer = events.EventFile(tmp_path)
    writer.write((3, {"loss": 0.5}))
    writer.close()
    (path,) = tmp_path.iterdir()
    reference = RecordWriter(str(tmp_path / "reference"))
    for _, event in events.read(path):
        reference.write(event.SerializeToString())
    reference.close()
    assert path.read_bytes() == (tmp_path / "reference").read_bytes()
    assert [event.file_version for _, event in events.read(path)] == ["brain.Event:2", ""]


def test_tensorboard_has_every_step_once_after_a_kill(tmp_path):
    run(tmp_path, range(5))
    (killed,) = (tmp_path / "tensorboard/sft").glob(events.PATTERN)
    run(tmp_path, range(3, 6), start=3)
    assert curves(tmp_path) == [0, 1, 2, 3, 4, 5]
    content = killed.read_bytes()
    for lost in (1, 30, len(content) - 30, len(content)):  # what the disk did not have
        killed.write_bytes(content[: len(content) - lost])
        run(tmp_path, range(5, 7), start=5)
        assert sorted(curves(tmp_path)) == [0, 1, 2, 3, 4, 5, 6]


def test_tensorboard_keeps_the_time_of_a_step(tmp_path):
    def times():
        return [
            (event.step, event.wall_time)
            for path in (tmp_path / "tensorboard/sft").glob(events.PATTERN)
            for _, event in events.read(path)
            if event.summary.value
        ]

    run(tmp_path, range(5))
    before = times()
    run(tmp_path, (), start=3)
    assert times() == before[:3]


def test_tensorboard_has_an_evaluation_that_begins_anew_once(tmp_path):
    run(tmp_path, range(3), stage="eval")
    run(tmp_path, range(2), stage="warm")
    run(tmp_path, range(4), stage="eval")
    assert curves(tmp_path, "eval") == [0, 1, 2, 3]
    assert curves(tmp_path, "warm") == [0, 1]
    assert len(list((tmp_path / "tensorboard/eval").iterdir())) == 1


def test_event_files_of_an_earlier_version_are_read(tmp_path):
    writer = tensorboardX.SummaryWriter(str(tmp_path / "tensorboard/sft"))
    for step in (0, 1, 1, 2):  # an event for each number, a step twice
        writer.add_scalar("loss", 1 / (step + 1), step)
    writer.close()
    (tmp_path / "metrics.jsonl").write_text(
        "".join(f'{{"stage": "sft", "step": {i}, "loss": 0.5}}\n' for i in range(3))
    )
    run(tmp_path, range(2, 4), start=2)
    assert curves(tmp_path) == [0, 1, 2, 3]


def test_without_a_terminal_progress_is_lines(tmp_path):
    console = quiet()
    with log.Log(tmp_path, "sft", 4, console=console) as entries:
        for step in range(4):
            entries.write(step, {"loss": 0.25, "tokens_per_second": 12345.6, "other": 1})
            entries.advance(step)
    first, last = console.file.getvalue().splitlines()
    assert first.startswith("sft 1/4  loss 0.25  tokens_per_second 12,346  0:0")
    assert last == "sft 4/4  loss 0.25  tokens_per_second 12,346  0:00 left"


def test_on_a_terminal_progress_is_a_bar(tmp_path):
    console = rich.console.Console(file=io.StringIO(), width=120, force_terminal=True)
    with log.Log(tmp_path, "sft", 4, console=console) as entries:
        entries.write(3, {"loss": 0.25})
        entries.advance(3)
    shown = console.file.getvalue()
    assert "4/4" in shown and "loss 0.25" in shown and "0:00 left" in shown


def test_json_is_written_atomically(tmp_path):
    path = tmp_path / "a" / "results.json"
    log.write_json(path, {"puzzlevqa": {"accuracy": 0.5}})
    with pytest.raises(TypeError, match="not JSON serializable"):
        log.write_json(path, {"accuracy": object()})
    assert json.loads(path.read_text()) == {"puzzlevqa": {"accuracy": 0.5}}
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]


def test_what_a_judge_of_ones_own_returns_is_written(tmp_path):
    numbers = {"accuracy": np.float32(0.5), "f1": math.nan, "by_kind": {np.int64(3): np.array([1])}}
    log.write_json(tmp_path / "results.json", numbers)
    written = json.loads((tmp_path / "results.json").read_text())
    assert written == {"accuracy": 0.5, "f1": None, "by_kind": {"3": [1]}}
    row = {"correct": np.bool_(True), "score": np.float64("inf"), "read": ("a", None)}
    log.write_completions(tmp_path / "eval.jsonl", [row], [()])
    written = json.loads((tmp_path / "eval.jsonl").read_text())
    assert written == {"correct": True, "score": None, "read": ["a", None], "pictures": []}


def test_pictures_of_completions_are_files(tmp_path):
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    path = tmp_path / "completions" / "step_10.jsonl"
    log.write_completions(path, [{"reply": "é <image>"}, {"reply": "no"}], [[picture], []])
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first == {"reply": "é <image>", "pictures": ["step_10/0-0.png"]}
    assert second == {"reply": "no", "pictures": []}
    assert np.array_equal(np.asarray(Image.open(path.parent / "step_10/0-0.png")), picture)


def test_a_table_shows_the_beginning_of_a_long_text():
    rows = [
        {"prompt": "?", "reply": "a\n" * 5000, "reward": 1.0},
        {"prompt": "x" * 2100, "reply": "short\ntext", "reward": None},
    ]
    console = rich.console.Console(file=io.StringIO(), width=100)
    console.print(log.completions_table(rows, ["reward"], "Step 1"))
    shown = console.file.getvalue()
    assert shown.count("\n") < 120
    assert "... 9,953" in shown and "100 more" in shown and "text" in shown


def test_a_note_is_a_line_with_the_stage(tmp_path):
    console = quiet()
    with log.Log(tmp_path, "sft", 4, console=console) as entries:
        entries.note("compiling")
    assert console.file.getvalue().splitlines() == ["sft: compiling"]
    with log.Log(tmp_path, "sft", 4, console=console, process_index=1) as entries:
        entries.note("on another process")
    assert "another" not in console.file.getvalue()
