"""The baseline against a server on loopback: failures, kills, refusals, keys, the table."""

import collections
import importlib.util
import json
import os
import pathlib
import random
import signal
import subprocess
import sys

import pytest
from helpers import fake_openai
from helpers.fake_openai import KEY, Rates, serve

from mmcot_jax import baseline, lock
from mmcot_jax.outside import resq as prompts

ROOT = pathlib.Path(__file__).resolve().parents[1]
needs_openai = pytest.mark.skipif(
    importlib.util.find_spec("openai") is None, reason="openai is not installed (extra `api`)"
)
FAST = ["--timeout", "20", "--backoff", "0.02"]
FAILING = Rates(limited=0.05, broken=0.05, hanging=0.02, refused=0.01)


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def write_resq(path, stories, questions=4):
    """Writes a file of ReSQ; the scenes of a story's questions are the same."""
    rng = random.Random(0)
    data = [
        {
            "story": [f"room {n} has a lamp on a table .", "a cat lies under the table ."],
            "questions": [
                {
                    "question": f"Is thing {k} above the cat?",
                    "answer": [rng.choice(["Yes", "No"])],
                    "candidate_answers": ["Yes", "No"],
                    "num_1st_context_sentences": 2,
                }
                for k in range(questions)
            ],
        }
        for n in range(stories)
    ]
    path.write_text(json.dumps({"data": data}))
    return [q["answer"][0] for story in data for q in story["questions"]]


@pytest.fixture
def small(tmp_path):
    """Two stories with two questions each."""
    path = tmp_path / "small.json"
    write_resq(path, 2, 2)
    return path


def run(server, data, out, *more, mode="text", main=baseline.main):
    flags = ["--task", "resq", "--mode", mode, "--data", str(data), "--out", str(out)]
    return main([*flags, "--base-url", server.url, *FAST, *more])


def results(out):
    return json.loads((out / "results.json").read_text())


def rows(out):
    return [json.loads(line) for line in (out / "completions/eval.jsonl").open()]


def replies(out):
    text = (out / "replies.jsonl").read_bytes()
    return [json.loads(line) for line in text.split(b"\n")[:-1]]


def written(folder):
    """All bytes of all files below a folder, and their names."""
    return b"".join(p.read_bytes() + str(p).encode() for p in folder.rglob("*") if p.is_file())


def asked(line, out):
    """The body of a kept request as the server received it."""
    from mmcot_jax.outside.client import _with_pictures

    return fake_openai.key_of(_with_pictures(line["request"]["body"], out))


@needs_openai
def test_killed_twice_it_answers_every_question_once_and_asks_nothing_twice(tmp_path):
    data, out = tmp_path / "train_resq.json", tmp_path / "out"
    gold = write_resq(data, 50)
    command = [sys.executable, "-m", "mmcot_jax.baseline", "--mode", "image", "--data", str(data)]
    command += ["--out", str(out), "--samples", "1", *FAST, "--timeout", "1.5"]
    with serve(FAILING, seed=4) as server:
        ended, settled, output = [], [], ""
        for stop in (30, 150, None):
            process = subprocess.Popen(
                [*command, "--base-url", server.url],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            if stop:
                with server.lock:
                    server.after[stop] = process.kill
            output += process.communicate(timeout=120)[0]
            ended.append(process.returncode)
            with server.lock:
                settled.append(({asked(line, out) for line in replies(out)}, len(server.received)))
        log = list(server.log)
    assert ended == [-signal.SIGKILL, -signal.SIGKILL, 0], output
    failures = collections.Counter(entry.kind for entry in log)
    assert min(failures[kind] for kind in ("429", "500", "hang", "refused")) >= 1

    # what was on disk at a kill was never asked again: a request under way may be
    for kept, length in settled[:2]:
        assert not kept & set(server.received[length:])
    lines = replies(out)
    timed_out = sum(line["reply"]["retries"].get("time-out", 0) for line in lines)
    under_way = 8 * 2
    whole = collections.Counter(entry.key for entry in server.whole)
    assert sum(whole.values()) - len(whole) <= under_way + timed_out
    assert len({line["key"] for line in lines}) == len(lines) == len(whole)

    assert not [path for path in out.rglob(".*")]

    # the table by hand
    found = rows(out)
    assert [row["answer"] for row in found] == gold and len(found) == 200
    drawn = {e.body["prompt"]: e.kind for e in server.whole if "prompt" in e.body}
    kinds = collections.Counter(row["kind"] for row in found)
    undrawn = list(drawn.values()).count("refused")
    assert len(drawn) == 50 and kinds["without_picture"] == 4 * undrawn
    right = sum(f"<answer>{row['answer']}</answer>" in row["reply"] for row in found)
    table = results(out)
    assert table["resq"]["strict"]["pass@1"] == pytest.approx(right / 200)
    missing = kinds["refused"] + kinds["without_picture"]
    assert table["resq"]["strict"]["unanswered"] == pytest.approx(missing / 200)
    assert table["calls"]["answers"]["requests"] == 200 - 4 * undrawn
    assert table["calls"]["answers"]["refused"] == kinds["refused"]
    assert table["calls"]["pictures"]["answered"] == 50 - undrawn
    assert KEY not in output and KEY.encode() not in written(tmp_path)


@needs_openai
def test_a_complete_run_asks_nothing_again(small, tmp_path, capsys):
    with serve() as server:
        assert run(server, small, tmp_path / "out", "--samples", "2") == 0
        first = results(tmp_path / "out")
        assert run(server, small, tmp_path / "out", "--samples", "2") == 0
        assert len(server.log) == 8
    assert results(tmp_path / "out") == first
    assert "gpt-4o: 0 calls, 8 replies kept from before" in capsys.readouterr().err


@needs_openai
def test_the_requests_are_the_studys(small, tmp_path):
    with serve() as server:
        assert run(server, small, tmp_path / "out", mode="image") == 0
        bodies = [entry.body for entry in server.log]
    drawn = [body for body in bodies if "prompt" in body]
    chats = [body for body in bodies if "messages" in body]
    assert len(drawn) == 2 * 3 and len(chats) == 4 * 9
    assert drawn[0] == {
        "model": "dall-e-3",
        "prompt": "Room 0 has a lamp on a table . A cat lies under the table . a clear spatial "
        "relationship, minimalistic and natural perspective, full wide view.",
        "n": 1,
        "size": "1024x1024",
        "quality": "standard",
        "style": "natural",
        "response_format": "b64_json",
    } or drawn[0]["prompt"].startswith("Room 1")
    assert set(chats[0]) == {"model", "messages"} and chats[0]["model"] == "gpt-4o"
    system, user = chats[0]["messages"]
    assert system["content"] == (
        "Given the question, think step by step using the provided context and the image to "
        "answer the question, then, provide with the final answer. The final answer is either "
        "'Yes' or 'No'. If image and text contradict each other, please follow the text. The "
        "reasoning process and answer are enclosed within <think> </think> and <answer> </answer> "
        "tags, respectively, i.e., <think> reasoning process here </think> <answer> the final "
        "answer here </answer>."
    )
    assert user["content"][0]["text"].startswith("room ") and "?" in user["content"][0]["text"]
    assert prompts.SYSTEM["text"] == system["content"].replace(" and the image", "").replace(
        "If image and text contradict each other, please follow the text. ", ""
    )
    found = results(tmp_path / "out")["resq"]["strict"]
    assert found["samples"] == 9 and set(found) >= {"pass@1", "pass@3"}
    for row in rows(tmp_path / "out"):
        (path,) = row["pictures"]
        assert (tmp_path / "out" / "completions" / path).is_file()


@needs_openai
def test_no_more_requests_are_under_way_than_told(small, tmp_path):
    with serve() as server:
        assert run(server, small, tmp_path / "out", "--concurrency", "3") == 0
        assert 2 <= server.most_at_once <= 3


@needs_openai
def test_a_seed_and_a_temperature_are_sent_with_each_answer(small, tmp_path):
    more = ("--seed", "7", "--temperature", "0.5", "--samples", "2", "--limit", "3")
    with serve() as server:
        assert run(server, small, tmp_path / "out", *more) == 0
        sent = sorted((e.body["seed"], e.body["temperature"]) for e in server.log)
    assert sent == [(7, 0.5)] * 3 + [(8, 0.5)] * 3


@needs_openai
def test_the_score_command_reads_its_completions(small, tmp_path, capsys):
    from mmcot_jax import score

    with serve() as server:
        assert run(server, small, tmp_path / "out", "--samples", "3") == 0
    capsys.readouterr()
    file = str(tmp_path / "out/completions/eval.jsonl")
    assert score.main(["--metric", "pass_at_k", file]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": file,
        **results(tmp_path / "out")["resq"]["strict"],
    }


@needs_openai
def test_refused_and_empty_replies_are_counted_and_asked_again_only_if_told_so(small, tmp_path):
    texts = iter(["I'm sorry, I can't.", "", "<answer>Yes</answer>", " "])
    with serve(reply=lambda _: next(texts, "<answer>No</answer>")) as server:
        assert run(server, small, tmp_path / "a", "--samples", "1", "--concurrency", "1") == 0
        counts = results(tmp_path / "a")["calls"]["answers"]
        assert [counts[k] for k in ("answered", "refused", "empty")] == [1, 1, 2]
        assert results(tmp_path / "a")["resq"]["strict"]["unanswered"] == 0.75
        assert len(server.log) == 4
        more = ("--samples", "1", "--tries", "2")
        assert run(server, small, tmp_path / "a", *more) == 0
        assert len(server.log) == 4 + 3  # the first try is there from before
    counts = results(tmp_path / "a")["calls"]["answers"]
    assert [counts[k] for k in ("answered", "refused", "empty", "calls")] == [4, 0, 0, 7]


@needs_openai
@pytest.mark.parametrize(
    "more, change, line",
    [
        ((), {"key": "sk-another"}, "refuses the key in OPENAI_API_KEY (401: Incorrect API key"),
        (("--model", "gpt-9"), {}, "has no model 'gpt-9' for chat/completions (404"),
        ((), {"override": (400, {}, {"error": {"message": "bad field"}})}, "refuses a request"),
        (
            (),
            {"override": (429, {}, {"error": {"message": "x", "code": "insufficient_quota"}})},
            "the quota of this key is spent",
        ),
    ],
)
def test_what_no_retry_mends_is_one_line(small, tmp_path, capsys, more, change, line):
    with serve() as server:
        server.key = change.get("key", KEY)
        if "override" in change:
            server.override = lambda *_: change["override"]
        assert run(server, small, tmp_path / "out", "--concurrency", "1", *more) == 2
        assert max(server.seen.values()) == 1
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and line in error
    assert KEY not in error and KEY.encode() not in written(tmp_path)


@needs_openai
def test_a_wrong_key_in_the_middle_loses_nothing(small, tmp_path, capsys):
    with serve() as server:
        server.after[3] = lambda: setattr(server, "key", "sk-another")
        assert run(server, small, tmp_path / "out", "--concurrency", "1") == 2
        assert len(replies(tmp_path / "out")) == 3
        error = capsys.readouterr().err.splitlines()[-1]
        assert f"3 replies are kept in {tmp_path / 'out'}, the same command goes on" in error
        server.key = KEY
        assert run(server, small, tmp_path / "out") == 0
        assert collections.Counter(e.kind for e in server.log)["answered"] == 4 * 9


@needs_openai
def test_a_key_that_a_server_repeats_is_written_nowhere(small, tmp_path, capsys):
    with serve(reply=lambda _: f"<answer>Yes</answer> {KEY}") as server:
        assert run(server, small, tmp_path / "out") == 0
    seen = capsys.readouterr()
    assert KEY not in seen.out + seen.err and KEY.encode() not in written(tmp_path)
    assert "<answer>Yes</answer> ***" in rows(tmp_path / "out")[0]["reply"]


@needs_openai
def test_no_server_is_one_line(small, tmp_path, capsys):
    with serve() as server:
        pass
    assert run(server, small, tmp_path / "out") == 2
    assert f"error: no server at {server.url} (" in capsys.readouterr().err.splitlines()[-1]


@needs_openai
def test_a_server_that_keeps_failing_ends_the_run_which_can_go_on(small, tmp_path, capsys):
    with serve() as server:
        server.override = lambda path, body, count: (503, {}, {"error": {"message": "overloaded"}})
        assert run(server, small, tmp_path / "out", "--max-retries", "2", "--samples", "1") == 75
        assert max(server.seen.values()) == 3
        error = capsys.readouterr().err.splitlines()[-1]
        assert "after 3 tries, the last one: 503: overloaded" in error
        server.override = lambda *_: None
        assert run(server, small, tmp_path / "out", "--samples", "1") == 0


def test_without_a_key_it_ends_with_one_line(small, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    if importlib.util.find_spec("openai"):
        line = "error: no key: set OPENAI_API_KEY in the environment"
    else:
        line = "error: the openai package is missing: pip install 'mmcot_jax[api]'"
    assert baseline.main(["--data", str(small), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(line)
    assert not (tmp_path / "out").exists()


@needs_openai
def test_a_refused_picture_asks_nothing_and_its_answers_count_as_wrong(small, tmp_path, capsys):
    def override(path, body, count):
        refused = body.get("prompt", "").startswith("Room 0")
        said = {"message": "no", "code": "content_policy_violation"}
        return (400, {}, {"error": said}) if refused else None

    with serve() as server:
        server.override = override
        more = ("--samples", "1")
        assert run(server, small, tmp_path / "out", *more, mode="image") == 0
        assert len(server.log) == 2 + 2
        assert run(server, small, tmp_path / "out", *more, "--dry-run", mode="image") == 0
    assert capsys.readouterr().out.splitlines()[-3:-1] == [
        "dall-e-3: 0 calls, 2 pictures kept from before: $0.00",
        "gpt-4o: 0 calls, 2 replies kept from before, about 0 tokens in and 0 out: $0.00",
    ]
    found = results(tmp_path / "out")
    assert found["resq"]["strict"]["unanswered"] == 0.5
    assert found["calls"]["pictures"]["refused"] == 1 and found["calls"]["without_picture"] == 2
    assert found["calls"]["cost"] == pytest.approx(0.04 + 2 * (100 * 2.5 + 10 * 10) / 1e6)


def test_a_dry_run_needs_no_key_and_sends_and_writes_nothing(small, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    flags = ["--data", str(small), "--out", str(tmp_path / "out"), "--dry-run", "--mode", "image"]
    assert baseline.main([*flags, "--base-url", "http://127.0.0.1:9/v1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "dall-e-3: 6 calls, 0 pictures kept from before: $0.24"
    assert lines[1].startswith("gpt-4o: 36 calls, 0 replies kept from before, about ")
    assert not (tmp_path / "out").exists()
    assert baseline.main([*flags, "--model", "my-own"]) == 0
    assert "estimated cost: unknown" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, line",
    [
        (["--task", "piqa"], "--task is 'piqa'; choose from resq"),
        (["--mode", "imge"], "--mode is 'imge', did you mean 'image'?"),
        (["--modle", "x"], "there is no flag '--modle', did you mean '--mode'?"),
        (["--concurrency", "0"], "--concurrency is 0; give a whole number, 1 to 256"),
        (["--timeout", "nan"], "--timeout is nan; give seconds above 0"),
        (["--temperature", "3"], "--temperature is 3.0; give a number from 0 to 2"),
        (["--base-url", "localhost:8000"], "--base-url is no address of a server"),
        (["--base-url", "http://me:secret@host/v1"], "--base-url holds more than a server's"),
        (["--limit", "9"], "--limit is 9, and {data} has 4 questions; give fewer"),
        (["--out", " "], "--out is empty"),
        (["--model", ""], "--model is empty; give the name of a model"),
        (["--base-url", "http://[::1"], "--base-url is no address of a server"),
        (["--base-url", "http://a\nb/v1"], "--base-url is no address of a server"),
        (["--base-url", "http://a..b/v1"], "--base-url is no address of a server"),
        (["--base-url", "http://a b/v1"], "--base-url is no address of a server"),
    ],
)
def test_a_wrong_flag_is_one_line(small, capsys, flags, line):
    assert baseline.main(["--data", str(small), "--dry-run", *flags]) == 2
    error = capsys.readouterr().err
    assert line.format(data=small) in error and error.count("\n") == 1 and "secret" not in error


@needs_openai
def test_a_damaged_picture_is_one_line_and_drawn_again_once_it_is_removed(small, tmp_path, capsys):
    more = ("--samples", "1", "--limit", "1")
    with serve() as server:
        assert run(server, small, tmp_path / "out", *more, mode="image") == 0
        (picture,) = (tmp_path / "out/pictures").iterdir()
        whole = picture.read_bytes()
        picture.write_bytes(whole[:-9])
        more = ("--samples", "2", "--pictures", "1", "--limit", "1")
        assert run(server, small, tmp_path / "out", *more, mode="image") == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert f"{picture} is damaged; remove it, and the same command draws it again" in error
        picture.unlink()
        assert run(server, small, tmp_path / "out", *more, mode="image") == 0
    assert picture.read_bytes() == whole


@needs_openai
def test_two_commands_do_not_write_into_one_folder(small, tmp_path, capsys):
    with lock.hold(tmp_path / "out"), serve() as server:
        assert run(server, small, tmp_path / "out") == 2
        assert not server.log
    assert f"{tmp_path / 'out'} is in use by process " in capsys.readouterr().err


@needs_openai
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_with_a_line_how_to_go_on(small, tmp_path, number):
    with serve(Rates(hanging=1.0), hang=60.0) as server:
        code = (
            "import runpy, signal\n"
            # a job in the background ignores it
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "runpy.run_module('mmcot_jax.baseline', run_name='__main__', alter_sys=True)"
        )
        command = [sys.executable, "-c", code, "--data", str(small)]
        command += ["--out", str(tmp_path / "out"), "--base-url", server.url]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        while not server.received and process.poll() is None:
            pass
        os.kill(process.pid, number)
        error = process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert error.splitlines()[-1] == (
        "ended by a signal: the replies so far are kept, run the same command to go on"
    )
    assert not (tmp_path / "out/lock.json").exists()
