"""The score command on our completions, on the study's stored layouts, and on bad input."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from mmcot_jax.score import main, score_puzzle

OURS = {
    "id": "venn/test/00000",
    "kind": "venn",
    "domain": "out_of_domain",
    "prompt": "# Question:\n<image>Which?\n\n# Options:\n(A) 4\n(B) 8\n\n# Pattern:\n",
    "reply": "A pattern.\n\n# Final Answer:\nThe answer is: (A). No, the answer is: (B).",
    "options": ["4", "8"],
    "answer": "B",
    "letter": "B",
    "correct": True,
}
STUDY = {
    "question": "Which?",
    "answer": "8",
    "options": [4, 8],
    "output_text": "# Question:\nWhich?\n\n# Options:\n(A) 4\n(B) 8\n\n# Pattern:\n"
    "A pattern.\n\n# Final Answer:\nBased on it, among (A) (B), 8 fits.",
    "answer_predicted_letter": "B",
    "answer_predicted": "8",
}


@pytest.fixture
def write(tmp_path):
    def write(*rows, name="replies.jsonl"):
        path = tmp_path / name
        path.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in rows))
        return str(path)

    return write


def printed(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_one_object_per_file_for_both_layouts(write, capsys):
    ours, study = write(OURS, OURS | {"answer": "A"}, name="ours"), write(STUDY, name="study")
    assert main(["--metric", "puzzle", ours, study]) == 0
    assert printed(capsys) == [
        {"file": ours, "n": 2, "accuracy": 0.5},
        {"file": study, "n": 1, "accuracy": 0.0},
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", ["{}\r\n", "[{}]"])
def test_a_file_is_read_as_editors_save_it(tmp_path, capsys, encoding, text):
    record = json.dumps(OURS | {"kind": "a\u2028b"}, ensure_ascii=False)
    path = tmp_path / "replies"
    path.write_bytes(text.replace("{}", record).encode(encoding))
    assert main(["--metric", "puzzle", str(path)]) == 0
    assert printed(capsys) == [{"file": str(path), "n": 1, "accuracy": 1.0}]


def test_the_reference_parser_reads_as_the_study_did(write, capsys):
    ours, study = write(OURS, name="ours"), write(STUDY, name="study")
    assert main(["--metric=puzzle", "--parser=reference", "--rows", ours, study]) == 0
    assert printed(capsys) == [
        {"file": ours, "n": 1, "accuracy": 0.0, "letters": ["A"]},
        {"file": study, "n": 1, "accuracy": 1.0, "letters": ["B"]},
    ]


def test_rows_adds_the_letters_in_order(write, capsys):
    path = write(OURS, "\n", OURS | {"reply": "no idea"})
    assert main(["--metric", "puzzle", "--rows", path]) == 0
    assert printed(capsys)[0]["letters"] == ["B", None]


def without(row, field):
    return {key: value for key, value in row.items() if key != field}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ('{"reply": \n', ":2: not JSON"),
        ("[1, 2]\n", ":2: a JSON list; one object a line is expected"),
        ({"text": "B"}, ":2: neither `reply` .* nor `output_text` .* among its fields text"),
        (without(OURS, "options"), ":2: `options` is None: a list of 2 to 26 is expected"),
        (OURS | {"answer": "C"}, ":2: `answer` is 'C': one of the letters AB is expected"),
        (OURS | {"answer": 1}, ":2: `answer` is a int: a string is expected"),
        (OURS | {"reply": None}, ":2: `reply` is a NoneType: a string is expected"),
        (without(OURS, "prompt"), ":2: `prompt` is missing: a string is expected"),
        (STUDY | {"answer": "5"}, ":2: `answer` is '5': one of the options"),
        (STUDY | {"output_text": "(B)"}, ":2: `output_text` does not begin with the prompt"),
    ],
)
def test_a_bad_row_is_one_line_with_file_and_line_and_nothing_is_printed(
    write, capsys, row, complaint
):
    good, bad = write(OURS, name="good"), write(OURS, row, name="bad")
    with pytest.raises(ValueError, match=complaint) as fault:
        score_puzzle(pathlib.Path(bad), "strict")
    assert main(["--metric", "puzzle", good, bad]) == 2
    assert capsys.readouterr() == ("", f"score: {fault.value}\n")
    assert str(fault.value).startswith(f"{bad}:2: ")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--metric", "puzzle"], "no file given"),
        (["--metric", "puzzle", "gone.jsonl"], "gone.jsonl: no such file"),
        (
            ["--metric", "puzle", "x"],
            "--metric is 'puzle', did you mean 'puzzle'.; choose from puzzle, mcq, ",
        ),
        (
            ["--metric", "puzzle", "--parser", "strickt", "x"],
            "'strickt', did you mean 'strict'",
        ),
        (["--metrc=puzzle", "x"], "there is no flag '--metrc', did you mean '--metric'.; choose"),
        (["--metric"], "expected one argument"),
        (["x"], "one of the arguments --metric --mean is required"),
        (["--mean", "--metric", "mcq", "x"], "--metric: not allowed with argument --mean"),
        (["--mean", "", "x"], "a file's name is empty; give one .is a variable of the shell"),
    ],
)
def test_a_wrong_command_is_one_line_and_status_two(capsys, arguments, complaint):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.search(complaint, err)


def test_an_empty_file_is_an_error(write, capsys):
    assert main(["--metric", "puzzle", write("\n")]) == 2
    assert "no rows; give a file with one reply a line" in capsys.readouterr().err


def test_the_command_runs_without_jax(write):
    code = (
        "import sys; from mmcot_jax.score import main; status = main(sys.argv[1:]); "
        "assert 'jax' not in sys.modules; sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "--metric", "puzzle", write(OURS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["accuracy"] == 1.0


MCQ = {"reply": "<think>x</think> <answer>(B), A</answer>", "options": ["4", "8"], "answer": "A, B"}
SHORT = {"reply": "<answer>Two.</answer>", "answer": "two", "possible_answers": ["2", "two"]}
PAIR = {
    "ground_truth_response": "<think>c</think> <answer>A, B</answer>",
    "generated_response": "<think>c</think> <answer>A</answer>",
}


def test_letters_in_tags_are_scored_in_percent_for_both_layouts(write, capsys):
    ours = write(MCQ, MCQ | {"answer": "A"}, name="ours")
    study = write(json.dumps([PAIR, PAIR], indent=4), name="study.json")
    assert main(["--metric", "mcq", "--rows", ours, study]) == 0
    assert printed(capsys) == [
        {
            "file": ours,
            "n": 2,
            "exam_score": 50.0,
            "precision": 75.0,
            "recall": 100.0,
            "f1_score": pytest.approx(85.714, abs=1e-3),
            "answers": [["A", "B"], ["A", "B"]],
        },
        {
            "file": study,
            "n": 2,
            "exam_score": 0.0,
            "precision": 100.0,
            "recall": 50.0,
            "f1_score": pytest.approx(66.667, abs=1e-3),
            "answers": [["A"], ["A"]],
        },
    ]


def test_a_short_answer_is_right_if_it_is_one_of_several(write, capsys):
    ours = write(SHORT, SHORT | {"reply": "two"}, name="ours")
    pair = {"ground_truth_response": "Yes", "generated_response": "<answer>yes.</answer>"}
    study = write(pair, name="study")
    assert main(["--metric", "short_answer", ours, study]) == 0
    whole = {"precision": 100.0, "recall": 100.0, "f1_score": 100.0}
    half = {"precision": 100.0, "recall": 50.0, "f1_score": pytest.approx(66.667, abs=1e-3)}
    assert printed(capsys) == [
        {"file": ours, "n": 2, "accuracy": 50.0, **half},
        {"file": study, "n": 1, "accuracy": 100.0, **whole},
    ]
    assert main(["--metric", "short_answer", "--parser", "reference", study]) == 0
    assert printed(capsys)[0]["accuracy"] == 0.0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[{]", "bad: not JSON .*; a list of objects is expected"),
        ("[[1]]", "bad:1: a JSON list; one object a line is expected"),
        ('[{"text": "B"}]', "bad:1: neither `reply` .* nor `generated_response` .* fields text"),
        ('[{"generated_response": "B"}]', "bad:1: `ground_truth_response` is missing"),
        ('[{"reply": "B"}]', "bad:1: `answer` is missing: a string is expected"),
        (
            '{"reply": "B", "possible_answers": []}',
            r"bad:1: `possible_answers` is \[\]: a list of strings is expected",
        ),
        (
            '{"reply": "B", "possible_answers": "cat"}',
            r"bad:1: `possible_answers` is 'cat': a list of strings is expected",
        ),
        ('{"reply": "B", "possible_answers": 1}', "bad:1: `possible_answers` is 1: a list of str"),
    ],
)
def test_a_bad_file_of_tagged_answers_is_one_line(write, capsys, text, complaint):
    assert main(["--metric", "short_answer", write(text, name="bad")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.search(complaint, err)


def test_a_row_whose_answer_is_no_option_is_an_error(write, capsys):
    assert main(["--metric", "mcq", write(MCQ | {"answer": "E"}, name="bad")]) == 2
    assert "bad:1: `answer` is 'E': one or more of the letters AB are" in capsys.readouterr().err


def test_letters_beyond_the_options_are_none(write, capsys):
    reply = "<answer>(A) I would wait.</answer>"
    ours = write(MCQ | {"reply": reply, "answer": "A"}, name="ours")
    study = write(PAIR | {"generated_response": "<answer>A, B, I</answer>"}, name="study")
    assert main(["--metric", "mcq", "--rows", ours, study]) == 0
    assert [said["answers"] for said in printed(capsys)] == [[["A"]], [["A", "B"]]]


STUDY_ACCURACY = {
    "Anole-7B-5DS-CE": (0.18, 0.47, 0.15, 0.41, 0.21),
    "Anole-7B-5DS-CE-txt": (0.29, 0.25, 0.29, 0.61, 0.24),
}


@pytest.mark.reference
@pytest.mark.parametrize("model", STUDY_ACCURACY)
def test_every_stored_letter_and_accuracy_of_the_study_is_reproduced(reference, capsys, model):
    files = sorted((reference / "data/reference_outputs/anole" / model).glob("*.jsonl"))
    assert main(["--metric", "puzzle", "--parser", "reference", "--rows", *map(str, files)]) == 0
    scores = printed(capsys)
    stored = [
        [json.loads(line)["answer_predicted_letter"] for line in path.read_text().splitlines()]
        for path in files
    ]
    assert [score["letters"] for score in scores] == stored
    assert sum(score["n"] for score in scores) == 500
    assert tuple(score["accuracy"] for score in scores) == STUDY_ACCURACY[model]


@pytest.mark.reference
@pytest.mark.parametrize("parser", ["reference", "strict"])
def test_every_stored_score_of_tagged_answers_is_reproduced_to_the_last_digit(
    reference, capsys, parser
):
    files = sorted((reference / "data/reference_outputs").glob("qwen_*/**/scores.json"))
    assert len(files) == 7
    for path in files:
        stored = json.loads(path.read_text())
        metric = "mcq" if "exam_score" in stored else "short_answer"
        replies = str(path.parent / "generated_responses.json")
        assert main(["--metric", metric, "--parser", parser, replies]) == 0
        said = printed(capsys)[0]
        n = {"aokvqa": 1145, "drivingvqa": 474}.get(path.parent.parent.name, 2000)
        assert said == {"file": replies, "n": n, **stored}


# ---- several answers to each question ------------------------------------------------------------


def sampled(id, answer, *replies):
    return [{"id": id, "prompt": "?", "reply": reply, "answer": answer} for reply in replies]


YES, DRAWN = "<think>a</think><answer>Yes</answer>", "<think><image></think><answer>Yes</answer>"


def test_pass_at_k_of_our_answers_and_of_the_studys_verdicts(write, capsys):
    study = write('{"0": [true, null, false, false, null],\n "7": [true, true, true, true, true]}')
    ours = write(
        *sampled("a", "Yes", YES, DRAWN, ""), *sampled("b", "No", YES, YES, YES), name="ours"
    )
    assert main(["--metric", "pass_at_k", "--rows", ours, study]) == 0
    first, second = printed(capsys)
    assert first == {
        "file": ours, "n": 2, "samples": 3, "pass@1": pytest.approx(1 / 3), "pass@3": 0.5,
        "unanswered": pytest.approx(1 / 6),
        "correct": [[True, True, None], [False, False, False]],
    }  # fmt: skip
    assert (second["n"], second["samples"], second["pass@1"]) == (2, 5, 0.6)
    assert second["pass@3"] == pytest.approx(0.8)


def test_the_reference_parser_misses_answers_after_pictures(write, capsys):
    file = write(*sampled("a", "Yes", YES, DRAWN))
    assert main(["--metric", "pass_at_k", "--parser", "reference", file]) == 0
    assert printed(capsys) == [
        {"file": file, "n": 1, "samples": 2, "pass@1": 0.5, "unanswered": 0.5}
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"0": [1, 0]}', "question '0' has [1, 0]; true, false or null"),
        ("{}", "no question; number -> true, false or null"),
        ('{"reply": "a", "id": "q"}', ":1: `answer` is missing: a string is expected"),
        ('{"0": [true]}\n{"1": [true]}', ":1: `id` is missing: a string is expected"),
        ("", "no rows; give a file with one reply a line"),
    ],
)
def test_a_bad_file_of_answers_is_named(write, capsys, content, words):
    assert main(["--metric", "pass_at_k", write(content)]) == 2
    assert words in capsys.readouterr().err


# ---- several runs --------------------------------------------------------------------------------


def runs(folder, **results):
    """Folders of runs with these results."""
    for name, result in results.items():
        (folder / name).mkdir()
        (folder / name / "results.json").write_text(json.dumps(result))
    return [str(folder / name) for name in results]


def test_runs_are_averaged_with_the_sample_deviation(tmp_path, capsys):
    scores = [{"shapes": {"boxes": {"iou": x}}, "n": 10} for x in (0.1, 0.2, 0.6)]
    assert main(["--mean", *runs(tmp_path, a=scores[0], b=scores[1], c=scores[2])]) == 0
    iou, n = printed(capsys)
    # of -0.2, -0.1, 0.3: 0.14 / 2
    assert iou == {
        "metric": "shapes/boxes/iou", "n": 3, "mean": pytest.approx(0.3),
        "std": pytest.approx(0.07**0.5),
    }  # fmt: skip
    assert n == {"metric": "n", "n": 3, "mean": 10.0, "std": 0.0}


def test_files_of_scores_are_averaged_as_runs_are(write, capsys):
    files = [write(json.dumps({"f1_score": x}), name=f"{x}") for x in (50.0, 52.0)]
    assert main(["--mean", *files]) == 0
    assert printed(capsys) == [
        {"metric": "f1_score", "n": 2, "mean": 51.0, "std": pytest.approx(2**0.5)}
    ]


@pytest.mark.parametrize(
    ("results", "named", "complaint"),
    [
        ({"a": {"x": 1}}, ["a"], "a deviation needs at least 2 runs; there is .*a$"),
        ({"a": {"x": 1}}, ["a", "a"], "a is named twice"),
        ({"a": {"x": 1}}, ["a", "gone"], "gone: no such file; give folders of runs"),
        ({"a": {"x": 1}, "b": {"y": 1}}, ["a", "b"], "a has no y, which other runs have: give"),
        ({"a": {"x": "1"}, "b": {"x": "2"}}, ["a", "b"], "no number in .*a, .*b: give results"),
        ({"a": {"x": 1}, "b": [1]}, ["a", "b"], "results.json: a JSON list; one object"),
        ({"a": {"x": 1}}, ["a", "broken"], "broken: not JSON .*; one object is expected"),
    ],
)
def test_runs_that_have_no_mean_are_one_line(tmp_path, capsys, results, named, complaint):
    runs(tmp_path, **results)
    (tmp_path / "broken").write_text("{")
    assert main(["--mean", *(str(tmp_path / name) for name in named)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.search(complaint, err.strip())
