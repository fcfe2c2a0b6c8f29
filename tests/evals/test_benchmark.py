"""The study's numbers from its stored replies, by the measure that stands beside the official."""

import json

import pytest

from mmcot_jax import score
from mmcot_jax.evals import exact_match, pope, vqa
from mmcot_jax.example import Answered, Example, Reply

STORED = "data/reference_outputs/qwen_3b_2_5_vl"


@pytest.mark.reference
@pytest.mark.parametrize(
    ("run", "judge"), [("sft_warmup/pope", pope), ("grpo_scaleup/final/vizwiz", vqa)]
)
def test_agreement_with_llava_reproduces_the_studys_scores(reference, run, judge):
    folder = reference / STORED / run
    extra = {
        "options": (),
        "possible_answers": ("x",),
        "boxes": (),
        "space": None,
        "kind": "random",
        "reads_whole_reply": False,
        "human_answers": (),
        "groups": {},
        "normal_form": "vqa",
    }
    answered = []
    for row in json.loads((folder / "generated_responses.json").read_text())[:2000]:
        gold = row["ground_truth_response"]
        llava = {"llava_answers": {"reference": gold, "strict": gold}}
        example = Example("q", ("?",), gold, extra=extra | llava)
        answered.append(Answered(example, Reply((row["generated_response"],)), "?", 1, True))
    results, _ = judge.summarize(answered)
    assert set(results) == {"llava_agreement"}
    scores = json.loads((folder / "scores.json").read_text())
    assert results["llava_agreement"]["reference"] == pytest.approx(scores, rel=1e-15)
    assert results["llava_agreement"]["n"] == 2000


def test_a_plain_reply_is_compared_with_llavas_answer_as_a_whole():
    extra = {
        "options": (), "possible_answers": ("red",), "boxes": (), "space": None,
        "question_id": "1", "reads_whole_reply": True, "human_answers": ("red",), "groups": {},
        "llava_answers": {"reference": "red", "strict": "red"},
    }  # fmt: skip
    example = Example("q/1", ("?",), "red", extra=extra)
    texts = ("red", "<answer>red</answer>", "blue", "")
    replies = [Answered(example, Reply((text,)), "?", 1, True) for text in texts]
    found = exact_match.summarize(replies)[0]
    assert found["official"]["accuracy"] == 50.0
    agreement = found["llava_agreement"]
    assert {agreement[parser]["accuracy"] for parser in ("strict", "reference")} == {50.0}
    assert agreement["strict"]["precision"] == pytest.approx(200 / 3)  # of three answers
    # no answer is not the answer "None"
    llava = {"llava_answers": {"reference": "None", "strict": "None"}}
    none = example._replace(extra=extra | llava)
    found = exact_match.summarize([Answered(none, Reply(("",)), "?", 1, True)])[0]
    assert max(found["llava_agreement"]["strict"].values()) == 0.0


def test_stored_rows_are_judged_to_the_same_results(tmp_path, capsys):
    extra = {
        "options": (),
        "possible_answers": ("red",),
        "boxes": (),
        "space": None,
        "question_id": "1",
        "reads_whole_reply": False,
        "human_answers": ("red", "red", "red", "rose"),
        "groups": {"answer_type": "other"},
        "llava_answers": {"reference": "Red", "strict": "Red"},
        "normal_form": "textvqa",
        "answerable": True,
    }
    example = Example("q/1", ("?",), "red", extra=extra)
    texts = ("<answer>Red.</answer>", "<answer>unanswerable</answer>", "red")
    results, rows = vqa.summarize([Answered(example, Reply((x,)), "?", 1, True) for x in texts])
    path = tmp_path / "eval_vizwiz.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert score.main(["--metric", "benchmark", "--rows", str(path)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["official"] == results["official"] and said["n"] == 3
    assert said["llava_agreement"] == results["llava_agreement"]
    assert said["answers"] == [["Red."], ["unanswerable"], []]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"benchmark": None}, ":1: no completion of a benchmark: `id`, `answer`, `reply` and `ben"),
        ({"benchmark": {}}, ":1: `benchmark` has no question_id, reads_whole_reply, human_answers"),
        (
            {"evaluator": "judge"},
            ": rows that are judged by judge; one of exact_match, grounded, pl",
        ),
        ({"groups": 3}, ": a damaged `benchmark` of a row: AttributeError"),
    ],
)
def test_a_row_that_is_no_completion_of_a_benchmark_is_one_line(
    tmp_path, capsys, change, complaint
):
    stored = {
        "evaluator": "exact_match",
        "question_id": "1",
        "reads_whole_reply": False,
        "human_answers": ["red"],
        "groups": {},
        "llava_answers": {},
    }
    row = {"id": "q", "answer": "red", "reply": "x", "benchmark": stored | change} | {
        name: value for name, value in change.items() if name == "benchmark"
    }
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row))
    assert score.main(["--metric", "benchmark", str(path)]) == 2
    assert complaint in capsys.readouterr().err
