"""The page of runs: what it reads of their folders, and its files."""

import json
import math
import os
import pathlib
import re
import shutil

import pytest
from helpers.readers import EXAMPLE
from helpers.run_folders import EVIL, make_run, write_lines

from mmcot_jax import evals
from mmcot_jax.evals.picture_ablation import FORMS, Outcome, summarize
from mmcot_jax.example import Answered, Reply
from mmcot_jax.report import page, runs, tables
from mmcot_jax.report import series as report_series
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


def test_parts_of_a_chain_are_shown_with_reward_and_advantage(tmp_path):
    folder = make_run(tmp_path / "one")
    part = {"text": "a <image>", "reward": 0.25, "advantage": -1.5}
    row = {"id": "q", "reply": "a <image>", "advantage": 0.0}
    given = {"steps": [part, part | {"advantage": None}], "other": []}
    write_lines(folder / "completions/grpo_step_00002.jsonl", [row | {"parts": given}])
    *_, chain = runs.read_chains(*runs.read([folder]))
    parts = {"steps/parts": "0.25 (-1.5), 0.25 (+0)", "other/parts": ""}
    assert chain.facts == {"advantage": 0.0} | parts
    # another's column, and a reward of an older run
    write_lines(folder / "completions/eval.jsonl", [{"id": "q", "reply": "a", "parts": [1, 2]}])
    write_lines(folder / "completions/grpo_step_00002.jsonl", [row | {"parts": 0.5}])
    first, last = runs.read_chains(*runs.read([folder]))
    assert first.facts == {"parts": "[1, 2]"} and last.facts == {"advantage": 0.0, "parts": 0.5}


def test_a_reward_is_summed_from_the_columns_that_its_step_wrote(tmp_path):
    folder = make_run(tmp_path / "one")
    grpo = {"reward_funcs": ["accuracy", "my.py:accuracy", "my.py:tokens"]}
    config = {"seed": 1, "stages": ["grpo"], "grpo": grpo | {"reward_weights": [1.0, 2.0, 4.0]}}
    (folder / "config.json").write_text(json.dumps(config))
    row = {"id": "q", "reply": "a", "tokens": 75, "ended": True, "advantage": 0.0}
    scores = {"accuracy": 1.0, "my.accuracy": 0.25, "rewards/tokens": 0.5}
    write_lines(folder / "completions/grpo_step_00002.jsonl", [row | scores])
    *_, chain = runs.read_chains(*runs.read([folder]))
    assert (chain.reward, chain.correct) == (1.0 + 2 * 0.25 + 4 * 0.5, True)


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


def series(folder: pathlib.Path, run: str, *steps: tuple[str, int, float]) -> None:
    rows = [
        {
            "stage": stage,
            "step": step,
            "checkpoint": "last",
            "total_steps": 200,
            "start": {"stage": "sft", "step": 9},
            "results": {"gqa": {"official": {"accuracy": score, "n": 2}}, "policy": {"step": step}},
        }
        for stage, step, score in steps
    ]
    (folder / run / "series.json").write_text(json.dumps(rows))


def test_a_series_of_checkpoints_is_a_figure_a_table_and_curves(tmp_path):
    pytest.importorskip("matplotlib")
    folders = [make_run(tmp_path / f"runs/{seed}", seed) for seed in (1, 2)]
    series(tmp_path / "runs", "1", ("sft", 9, 10.0), ("grpo", 100, 30.0), ("grpo", 200, 20.0))
    write_lines(
        folders[0] / "metrics.jsonl", [{"stage": "eval_grpo_step_00100_gqa", "step": 0, "x": 1.0}]
    )
    found = runs.read(folders)
    points = {"gqa/official/accuracy": {"1": [(0.0, 10.0), (50.0, 30.0), (100.0, 20.0)]}}
    assert report_series.figure_lines(found) == points
    assert main([*map(str, folders), "--out", str(tmp_path / "out")]) == 0
    for name in ("series.png", "series.svg"):
        assert (tmp_path / "out" / name).stat().st_size > 3_000
    data = data_of(tmp_path / "out")
    assert data["headlines"] == ["gqa/official/accuracy"]
    curves = data["runs"][0]["curves"]
    assert curves["grpo checkpoints"]["gqa/official/accuracy"] == [[100, 200], [30.0, 20.0]]
    assert "eval_grpo_step_00100_gqa" not in curves
    (table,) = [t for t in data["tables"] if t["title"] == "checkpoints of 1"]
    assert table["rows"][1] == ["grpo 100 last", "30.0000"]
    (folders[1] / "series.json").write_text('{"stage": 1}')
    with pytest.raises(ValueError, match=r"series.json is no series of checkpoints; remove it"):
        runs.read(folders)


def test_the_judge_and_the_ablation_are_shown(tmp_path):
    folder = make_run(tmp_path / "run")
    judged = {"set": "eval", "id": "q1", "sample": 0, "aligned": False, "human": True}
    write_lines(folder / "judge/judged.jsonl", [judged, judged | {"id": "q0", "aligned": None}])
    (folder / "judge/results.json").write_text('{"alignment": {"eval": {"aligned": 0.5, "n": 2}}}')
    outcome = Outcome("q", None, dict.fromkeys(FORMS, "a"), dict.fromkeys(FORMS, True), True)
    ablation = {"scenes": summarize([outcome], [(None, "no_picture")], 0)}
    (folder / "results.json").write_text(json.dumps({"picture_ablation": ablation}))
    (run,) = runs.read([folder])
    facts = [chain.facts for chain in runs.read_chains(run)]
    assert facts[0].get("aligned") is None and facts[0]["people"] == "yes"
    assert (facts[1]["aligned"], facts[1]["people"]) == ("no", "yes") and "aligned" not in facts[2]
    shown = [*tables.results_tables([run]), *tables.ablation_tables([run])]
    assert [table.title for table in shown] == [
        "judge",
        "results",
        "picture_ablation: run, results",
    ]
    assert shown[0].rows == (("alignment/eval/aligned", "0.5000"), ("alignment/eval/n", "2"))
    assert shown[1].rows == ()
    assert shown[2].rows[0][:2] == ("scenes", "1 of 2")
    assert shown[2].rows[1][:2] == ("  own", "1.00 1.00..1.00")
    (folder / "judge/judged.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"judged.jsonl:1 is no verdict of the judge; remove it"):
        list(runs.read_chains(run))


def test_the_folder_of_a_baseline_is_a_run_without_training(tmp_path):
    folder = make_run(tmp_path / "gpt-4o")
    for name in ("config.json", "metrics.jsonl"):
        (folder / name).unlink()
    (folder / "replies.jsonl").touch()
    (run,) = runs.read([folder])
    assert run.results["results"]["scenes"] and run.curves == {}
    assert len(list(runs.read_chains(run))) == 6


@pytest.mark.parametrize(
    ("name", "found"),
    [("../p/0.png", True), ("p/../../a.png", True), ("../../a.png", False), ("..", False)],
)
def test_pictures_of_a_run_are_below_its_folder(tmp_path, monkeypatch, name, found):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two").mkdir()
    for folder in (make_run(tmp_path / "one"), pathlib.Path("one"), pathlib.Path("two/../one")):
        rows = [{"id": "q", "reply": "a", "pictures": [name]}]
        write_lines(folder / "completions/eval.jsonl", rows)
        (run,) = runs.read([folder])
        if found:
            (chain,) = [c for c in runs.read_chains(run) if c.id == "q"]
            assert chain.pictures[0].is_relative_to(tmp_path / "one")
        else:
            with pytest.raises(ValueError, match="is outside the run"):
                list(runs.read_chains(run))


@pytest.mark.parametrize("name", evals.names())
def test_the_chains_of_every_judge_are_read(tmp_path, name):
    answered = [Answered(EXAMPLE, Reply(("<answer>A</answer>",)), "?", 1, True)]
    _, rows = evals.get(name).summarize(answered)
    folder = make_run(tmp_path / "run")
    write_lines(folder / "completions/eval.jsonl", rows)
    (run,) = runs.read([folder])
    chain = next(runs.read_chains(run))
    assert (chain.id, chain.answer) == (EXAMPLE.id, EXAMPLE.answer) and "A" in chain.reply


EVAL = "completions/eval.jsonl"
SERIES = {"stage": "sft", "step": 1, "results": {}}


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (EVAL, {"space": [1]}, "eval.jsonl:1 is not a chain of a run (IndexError: list"),
        (EVAL, {"pictures": ["../../a.png"]}, "the picture '../../a.png' is outside the run"),
        (EVAL, {"pictures": ["/a.png"]}, "the picture '/a.png' is outside the run); remove"),
        ("metrics.jsonl", {"step": math.inf}, "metrics.jsonl:1 is not a line of metrics"),
        ("series.json", SERIES | {"start": [1]}, "series.json is no series of checkpoints"),
        ("series.json", SERIES | {"step": "x"}, "series.json is no series of checkpoints"),
    ],
)
def test_a_broken_file_of_a_run_is_one_line(tmp_path, capsys, file, change, said):
    folder = make_run(tmp_path / "run")
    lines = (folder / file).read_text().splitlines() if (folder / file).exists() else ["{}"]
    row = json.loads(lines[0]) | change
    write_lines(folder / file, [row, {"stage": "sft", "step": 2}])
    if file == "series.json":
        (folder / file).write_text(json.dumps([row]))
    assert main([str(folder), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_odd_numbers_and_names_are_shown(tmp_path):
    pytest.importorskip("matplotlib")
    name = os.fsdecode(b"a$b_{$\xff<script>")
    folders = [make_run(tmp_path / name), make_run(tmp_path / "two")]
    (folders[0] / "results.json").write_text('{"scenes": {"strict": {"pass@1": NaN}}}')
    (folders[0] / "config.json").write_text('{"grpo": null, "stages": null}')
    series(tmp_path, name, ("grpo", 100, math.nan), ("grpo", 200, 20.0))
    assert main([*map(str, folders), "--out", str(tmp_path / "out")]) == 0
    table = data_of(tmp_path / "out")["tables"][0]
    assert table["rows"] == [["scenes/strict/pass@1", "-", "0.6000", "-", "-"]]
    assert "<script>" not in (tmp_path / "out/index.html").read_text().replace("<script>\n", "")


def test_numbers_that_json_lacks_are_null():
    assert json.loads(page.to_script({"a": [math.nan, 1.5, math.inf], 3: ("x",)})) == {
        "a": [None, 1.5, None],
        "3": ["x"],
    }


def test_only_an_earlier_report_is_replaced(tmp_path, capsys, monkeypatch):
    run = str(make_run(tmp_path / "one"))
    out = tmp_path / "out"
    (tmp_path / "link").symlink_to(out)
    out.mkdir()
    for where in (out, out, tmp_path / "link"):
        assert main([run, "--out", str(where)]) == 0
    site = tmp_path / "site"
    (site / "src").mkdir(parents=True)
    (site / "index.html").write_bytes(b"mine \xff")
    (site / "src/thesis.tex").write_text("years")
    assert main([run, "--out", str(site)]) == 2
    assert "site holds other files (src); give a new folder" in capsys.readouterr().err
    shutil.rmtree(site / "src")
    (site / "tables.xlsx").touch()
    assert main([run, "--out", str(site)]) == 2
    assert "site holds other files (tables.xlsx); give" in capsys.readouterr().err
    (site / "tables.xlsx").unlink()
    assert main([run, "--out", str(site)]) == 2 and (site / "index.html").is_file()
    assert main([run, "--out", str(tmp_path)]) == 2
    assert f"holds {run}, and is replaced as a whole" in capsys.readouterr().err
    monkeypatch.chdir(out)
    assert main([run, "--out", "."]) == 2
    assert "holds the working directory" in capsys.readouterr().err
    assert (out / "index.html").is_file() and (tmp_path / "one/config.json").is_file()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["{}/none", "--out", "{}/out"],
            "none holds no run (no config.json); give a run's --workdir",
        ),
        (["{}/one", "{}/one", "--out", "{}/out"], "one is given twice; name each run once"),
        (["{}/one", "--out", "{}/full"], "full holds other files (notes.txt); give a new folder"),
        (["", "--out", "{}/out"], "RUN is empty; give a folder (is a variable of the shell not"),
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
