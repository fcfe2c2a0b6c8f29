"""The judge against a server on loopback: verdicts, labels, the study's layout."""

import importlib.util
import json

import pytest
from helpers.fake_openai import KEY, serve

from mmcot_jax import judge
from mmcot_jax.outside.alignment import read, read_labels

needs_openai = pytest.mark.skipif(
    importlib.util.find_spec("openai") is None, reason="openai is not installed (extra `api`)"
)
FAST = ["--timeout", "20", "--backoff", "0.02"]


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def row(n, reply="<think>It is red.</think> <answer>A</answer>", **more):
    return {"id": f"q/{n}", "prompt": f"Question {n}?\n", "reply": reply, "answer": "B", **more}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def label(path, *lines):
    path.write_text("\n".join(("id,aligned", *lines)) + "\n")
    return path


def user(body):
    return body["messages"][1]["content"]


def verdicts(words):
    """A judge whose word for question n is words[n]."""
    return lambda body: words[int(user(body).split("Question ")[1].split("?")[0])]


def run(server, path, *more):
    return judge.main([str(path), "--base-url", server.url, *FAST, *map(str, more)])


def results(folder):
    return json.loads((folder / "results.json").read_text())


def judged(folder):
    return [json.loads(line) for line in (folder / "judged.jsonl").open()]


@needs_openai
def test_the_share_of_aligned_reasoning_is_over_what_was_judged(tmp_path):
    path = write(tmp_path / "eval.jsonl", [*map(row, range(5)), row(5, "<think>Red")])
    words = ["yes", "No.", "Yes, it is.", "perhaps", "I'm sorry, no."]
    with serve(reply=verdicts(words)) as server:
        assert run(server, path) == 0
        assert len(server.log) == 5  # nothing to judge in the last
        body = server.log[0].body
    assert body["model"] == "gpt-4.1" and body["temperature"] == 0
    assert "Reference answer:\nB\n\nReasoning:\nIt is red.\n\nFinal answer:\nA\n" in user(body)
    found = results(tmp_path / "eval_judge")
    assert found["alignment"] == {
        "eval": {"n": 6, "judged": 3, "aligned": pytest.approx(2 / 3), "unanswered": 1}
    }
    counts = found["calls"]
    assert (counts["requests"], counts["refused"], counts["unreadable"]) == (5, 1, 1)
    assert counts["cost"] == pytest.approx(5 * (100 * 2 + 10 * 8) / 1e6)
    rows = judged(tmp_path / "eval_judge")
    assert [r["aligned"] for r in rows] == [True, False, True, None, None, None]
    assert [r["kind"] for r in rows[3:]] == ["answered", "refused", "unanswered"]


@needs_openai
def test_agreement_with_people_is_that_of_the_studys_table(tmp_path):
    # 50 called aligned, people agree on 46; 50 called misaligned, they agree on 34
    path = write(tmp_path / "eval.jsonl", map(row, range(101)))
    words = ["yes"] * 50 + ["no"] * 50 + ["perhaps"]
    people = ["yes"] * 46 + ["no"] * 4 + ["0"] * 34 + ["TRUE"] * 16 + ["yes"]
    labels = label(tmp_path / "l.csv", *(f"q/{n},{word}" for n, word in enumerate(people)))
    with serve(reply=verdicts(words)) as server:
        assert run(server, path, "--labels", labels) == 0
    assert results(tmp_path / "eval_judge")["agreement"] == {
        "n": 100,
        "accuracy": 0.8,
        "aligned": {"n": 50, "agreement": 0.92},
        "misaligned": {"n": 50, "agreement": 0.68},
        "unjudged": 1,
    }


@needs_openai
def test_a_run_is_judged_by_its_last_evaluation_and_asked_once(tmp_path):
    write(tmp_path / "completions/eval_birds.jsonl", [row(0)])
    write(tmp_path / "completions/eval_signs.jsonl", [row(1), row(2)])
    write(tmp_path / "completions/eval_sft_birds.jsonl", [row(3)])
    (tmp_path / "results.json").write_text('{"birds": {}, "signs": {}, "eval": {}, "policy": {}}')
    with serve(reply=lambda _: "yes") as server:
        assert run(server, tmp_path) == run(server, tmp_path) == 0
        assert len(server.log) == 3
    found = results(tmp_path / "judge")["alignment"]
    assert {name: group["judged"] for name, group in found.items()} == {
        "eval_birds": 1,
        "eval_signs": 2,
    }


@needs_openai
def test_the_studys_file_and_puzzles_without_tags_are_read(tmp_path):
    study = {
        "prompt": "Question 0?",
        "ground_truth_response": "<think>x</think> <answer>B, C</answer>",
        "generated_response": "<think>y</think> <answer>C</answer>",
    }
    puzzle = row(1, "So it is red.\n\n# Final Answer:\nIt is (A).", letter="A")
    (tmp_path / "full.json").write_text(json.dumps([study, puzzle]))
    with serve(reply=lambda _: "no") as server:
        assert run(server, tmp_path / "full.json", "--concurrency", "1") == 0
        first, second = (user(entry.body) for entry in server.log)
    assert "Reference answer:\nB, C\n\nReasoning:\ny\n\nFinal answer:\nC\n" in first
    assert "Reasoning:\nSo it is red.\n\nFinal answer:\n(A)\n" in second


@needs_openai
def test_several_completions_of_an_id_are_labelled_by_their_number(tmp_path):
    path = write(tmp_path / "eval.jsonl", [row(0), row(0, "<answer>B</answer>")])
    labels = tmp_path / "l.csv"
    labels.write_text("id;sample;aligned\nq/0;1;no\n")
    with serve(reply=lambda _: "no") as server:
        assert run(server, path, "--labels", labels) == 0
    assert [r["human"] for r in judged(tmp_path / "eval_judge")] == [None, False]


@pytest.mark.parametrize(
    "lines, error",
    [
        (["q/0,perhaps"], "l.csv:2: `aligned` is 'perhaps'; give yes or no"),
        (["q/7,yes"], "l.csv:2: no completion has the id 'q/7'"),
        (["q/0,yes", "q/0,no"], "l.csv:3: 'q/0' is labelled twice"),
        (["q/1,yes"], "l.csv:2: `sample` is '', and 'q/1' has 2 completions"),
        ([], "l.csv: no label"),
        ([f"q/0,{'y' * 200_000}"], "l.csv:2: `aligned` is 'yyyy"),
        (["q/0,yes", '"q/1,yes', "q/1,no"], "l.csv:3: no CSV (unexpected end of data); close"),
    ],
)
def test_a_wrong_label_is_one_line(tmp_path, capsys, lines, error):
    path = write(tmp_path / "eval.jsonl", [row(0), row(1), row(1)])
    labels = label(tmp_path / "l.csv", *lines)
    assert judge.main([str(path), "--dry-run", "--labels", str(labels)]) == 2
    said = capsys.readouterr().err
    assert error in said and said.count("\n") == 1 and len(said) < 1000


@pytest.mark.parametrize(
    "header, error",
    [
        ("id,aligned,aligned", "l.csv has the column aligned twice; give each another name"),
        ("id", "l.csv has no column aligned; it has id: name the columns in its first line"),
    ],
)
def test_a_wrong_header_is_one_line(tmp_path, capsys, header, error):
    path = write(tmp_path / "eval.jsonl", [row(0)])
    (tmp_path / "l.csv").write_text(f"{header}\nq/0,yes,no\n")
    assert judge.main([str(path), "--dry-run", "--labels", str(tmp_path / "l.csv")]) == 2
    said = capsys.readouterr().err
    assert error in said and said.count("\n") == 1


@pytest.mark.parametrize("text", ["\ufeffid,aligned\r\nq/0,yes\r\n", "id,aligned\rq/0,yes\r"])
def test_labels_may_be_saved_by_any_spreadsheet(tmp_path, text):
    path = write(tmp_path / "eval.jsonl", [row(0)])
    (tmp_path / "l.csv").write_bytes(text.encode())
    assert read_labels(tmp_path / "l.csv", read(path)) == {("q/0", 0): True}


def test_a_label_is_of_one_set(tmp_path, capsys):
    write(tmp_path / "completions/eval_a.jsonl", [row(0)])
    write(tmp_path / "completions/eval_b.jsonl", [row(0)])
    (tmp_path / "results.json").write_text('{"a": {}, "b": {}}')
    labels = label(tmp_path / "l.csv", "q/0,yes")
    assert judge.main([str(tmp_path), "--dry-run", "--labels", str(labels)]) == 2
    line = "error: 'q/0' is an id of eval_a and of eval_b, and a label names no set: give one of"
    assert capsys.readouterr().err.startswith(line)
    one = str(tmp_path / "completions/eval_a.jsonl")
    assert judge.main([one, "--dry-run", "--labels", str(labels)]) == 0


def test_a_wrong_file_is_one_line(tmp_path, capsys):
    (tmp_path / "l.csv").write_text("id,label\n")
    one, empty = write(tmp_path / "one.jsonl", [row(0)]), write(tmp_path / "empty.jsonl", [])
    missing = write(tmp_path / "eval.jsonl", [row(0), {"id": "q/1", "reply": "x"}])
    for path, error in (
        (tmp_path / "none", "none has no completions of an evaluation; give a run"),
        (empty, "empty.jsonl: no completion; give a file with one a line"),
        (missing, "eval.jsonl:2: `answer` is missing: a string is expected"),
    ):
        assert judge.main([str(path), "--dry-run"]) == 2
        said = capsys.readouterr().err
        assert error in said and said.count("\n") == 1
    assert judge.main([str(one), "--dry-run", "--labels", str(tmp_path / "l.csv")]) == 2
    assert (
        "l.csv has no column aligned; it has id, label: name the columns" in capsys.readouterr().err
    )


def test_a_dry_run_shows_calls_and_cost(tmp_path, capsys):
    path = write(tmp_path / "eval.jsonl", map(row, range(3)))
    assert judge.main([str(path), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("gpt-4.1: 3 calls, 0 replies kept from before, about ")
    assert not (tmp_path / "eval_judge").exists()
