"""The study's numbers from its stored replies, by the measure that stands beside the official."""

import json

import pytest

from mmcot_jax.evals import pope, vqa
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
