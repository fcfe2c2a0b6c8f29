"""The page of runs: what it reads of their folders, and its files."""

import json
import math
import pathlib
import re

import pytest
from helpers.run_folders import EVIL, make_run, write_lines

from mmcot_jax.report import page, runs
from mmcot_jax.report.__main__ import main


def data_of(folder: pathlib.Path):
    text = (folder / "index.html").read_text(encoding="utf-8")
    return json.loads(re.search(r"const report = (.*);\n</script>", text)[1])


def chunk_of(folder: pathlib.Path, number: int):
    text = (folder / f"chains/{number:04}.js").read_text(encoding="utf-8")
    return json.loads(re.fullmatch(r"reportChunk\(\d+,(.*)\);\n", text, re.DOTALL)[1])


def test_chains_are_found_by_file_step_group_reward_and_answer(tmp_path):
    (run,) = runs.read([make_run(tmp_path / "one")])
    chains = list(runs.read_chains(run))
    assert [c.file for c in chains] == ["eval"] * 2 + ["grpo_step_00002"] * 4
    assert [c.step for c in chains] == [None] * 2 + [2] * 4
    assert [c.group for c in chains] == [0, 1, 0, 0, 1, 1]
    assert [c.correct for c in chains] == [False, None, True, True, True, True]
    assert [c.reward for c in chains] == [None] * 2 + [pytest.approx(2 * 1.0 + 0.5 * 0.4)] * 4
    assert (chains[0].space, chains[0].boxes) == ((48, 24), (("red", 0, 0, 24, 12),))
    assert chains[2].facts == {
        "tokens": 5, "ended": True, "accuracy": 1.0, "short": 0.4, "advantage": 0.7
    }  # fmt: skip


def test_curves_are_thinned_keep_their_end_and_need_no_last_whole_line(tmp_path):
    rows = [{"stage": "sft", "step": i, "loss": i * 0.5, "on": True} for i in range(2500)]
    write_lines(tmp_path / "metrics.jsonl", rows)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"stage": "sft", "st')
    curves = runs.read_curves(tmp_path / "metrics.jsonl")
    steps, values = curves["sft"]["loss"]
    assert list(curves["sft"]) == ["loss"] and len(steps) == 834 <= runs.POINTS
    assert (steps[-1], values[-1], steps[-2]) == (2499, 1249.5, 2496)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write("\n{}\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl:2501 is not a line of metrics; remove"):
        runs.read_curves(tmp_path / "metrics.jsonl")


def test_the_page_holds_every_chain_and_no_text_of_theirs_is_markup(tmp_path, capsys):
    for seed in (1, 2):
        make_run(tmp_path / f"runs/{seed}", seed, questions=60)
    out = tmp_path / "page"
    argv = [str(tmp_path / "runs/1"), str(tmp_path / "runs/2"), "--out", str(out)]
    assert main(argv) == 0 and main(argv) == 0  # it may be made again
    assert "2 runs, 244 chains, 0." in capsys.readouterr().out
    data = data_of(out)
    assert [run["name"] for run in data["runs"]] == ["1", "2"]
    assert {len(column) for column in data["index"].values()} == {244}
    assert data["index"]["run"] == [0] * 122 + [1] * 122
    assert data["runs"][0]["curves"]["grpo"] == {"reward": [[0, 1, 2], [0.0, 0.5, 1.0]]}
    rows = [row for number in range(3) for row in chunk_of(out, number)]
    assert len(rows) == 244 and len(list((out / "chains").iterdir())) == 3
    drawn = [row for row in rows if row["pictures"]]
    assert {row["reply"] for row in drawn} == {
        f"A <image> drawn: {EVIL}".replace("\ud800", "\ufffd")
    }
    for row in rows:
        assert all((out / name).is_file() for name in (*row["pictures"], *row["prompt_pictures"]))
    for file in (out / "index.html", *(out / "chains").iterdir()):
        assert "alert(1)</script>" not in file.read_text(encoding="utf-8")
    (table,) = data["tables"]
    assert table["columns"] == ["", "1", "2", "mean", "deviation"]
    assert table["rows"] == [["scenes/strict/pass@1", "0.6000", "0.7000", "0.6500", "0.0707"]]


def test_numbers_that_json_lacks_are_null():
    assert json.loads(page.to_script({"a": [math.nan, 1.5, math.inf], 3: ("x",)})) == {
        "a": [None, 1.5, None],
        "3": ["x"],
    }


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["{}/none", "--out", "{}/out"],
            "none holds no run (no config.json); give a run's --workdir",
        ),
        (["{}/one", "{}/one", "--out", "{}/out"], "one is given twice; name each run once"),
        (["{}/one", "--out", "{}/full"], "full holds other files; give a new folder, or one of an"),
        (["{}/one"], "the following arguments are required: --out"),
        (
            ["{}/bad", "--out", "{}/out"],
            "eval.jsonl:1 is not a chain of a run (KeyError: 'id'); rem",
        ),
    ],
)
def test_a_wrong_command_is_one_line_and_leaves_nothing(tmp_path, capsys, argv, said):
    make_run(tmp_path / "one")
    write_lines(make_run(tmp_path / "bad") / "completions/eval.jsonl", [{"reply": "a"}])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").touch()
    assert main([part.format(tmp_path) for part in argv]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "full", "one"]
