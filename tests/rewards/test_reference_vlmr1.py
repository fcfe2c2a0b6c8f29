"""The study's rewards: its own cases, and how ours differ.

Every line of DIFFERENCES is a fault of the study's reward with an example, and both values.
"""

import builtins
import json

import pytest

from mmcot_jax.answers.think_answer import read_answer
from mmcot_jax.boxes import Box, Space, parse_reference
from mmcot_jax.evals import metrics
from mmcot_jax.example import Example, Reply
from mmcot_jax.rewards import REWARDS, reference_vlmr1

SPACE = Space("resized", 1000, 1000)
GOLD = "[100,200,300,400 car] [500,600,700,800 road sign]"
CAR, SIGN = Box("car", 100, 200, 300, 400, SPACE), Box("road sign", 500, 600, 700, 800, SPACE)


def example(answer="B, C", notes=GOLD, boxes=(CAR, SIGN)):
    options = ("w", "x", "y", "z")
    solution = f"<think>{notes}</think> <answer>{answer}</answer>"
    extra = {"options": options, "boxes": boxes, "solution": solution}
    return Example("q/1", ("?",), answer, extra=extra)


BOXES = ("reference_vlmr1_bbox", "iou")
ACCURACY = ("reference_vlmr1_accuracy", "tagged_accuracy")
FORM = ("reference_vlmr1_format", "tagged_format")
ONE, HALF = "[100,200,300,400 car]", pytest.approx(2 / 3)
TWICE = "<think>[100,200,300,400 car] [500,600,700,800 car]</think>"
AGAIN = "<think>[100,200,300,400 car] [100,200,300,400 van]</think>"
DIFFERENCES = [
    # what differs, the rewards, the reply, the study's value, ours
    (
        "two of one label are both read",
        BOXES,
        TWICE,
        0.0,
        1.0,
    ),
    ("a box that is missing costs", BOXES, f"<think>{ONE}</think>", 1.0, HALF),
    (
        "one gold box is matched once",
        BOXES,
        AGAIN,
        1.0,
        0.5,
    ),
    (
        "labels do not override places",
        BOXES,
        "<think>[500,600,700,800 car] [100,200,300,400 road sign]</think>",
        0.0,
        1.0,
    ),
    ("spaces are read", BOXES, f"<think>{GOLD.replace(',', ', ')}</think>", 0.0, 1.0),
    ("fractions are read", BOXES, f"<think>{GOLD.replace('400', '400.0')}</think>", 1.0, 1.0),
    ("boxes count in a closed thought only", BOXES, GOLD, 1.0, 0.0),
    ("letters have no order", ACCURACY, "<answer>C, B</answer>", 0.0, 1.0),
    ("letters need no space", ACCURACY, "<answer>B,C</answer>", 0.0, 1.0),
    ("letters may stand in brackets", ACCURACY, "<answer>(B), (C)</answer>", 0.0, 1.0),
    ("a full stop is no letter", ACCURACY, "<answer>B, C.</answer>", 0.0, 1.0),
    ("nothing follows the answer", FORM, "<think>x</think><answer>A</answer> and", 0.5, 0.0),
    ("space before it is allowed", FORM, " <think>x</think><answer>A</answer>", 0.0, 1.0),
    ("one thought", FORM, "<think>x</think><answer>A</answer><think>y</think>", 0.5, 0.0),
    ("a whole point for the form", FORM, "<think>x</think> <answer>A</answer>", 0.5, 1.0),
]


@pytest.mark.parametrize(("what", "names", "text", "theirs", "ours"), DIFFERENCES)
def test_how_ours_differ(what, names, text, theirs, ours):
    values = [REWARDS[name](example(), Reply((text,))) for name in names]
    assert values == [theirs, ours], what


def test_a_box_of_the_whole_picture_earns_nothing_from_ours():
    everything = Reply(("<think>[0,0,1000,1000 scene]</think>",))
    large = CAR._replace(x0=0, y0=0, x1=900, y1=900)
    target = example(notes="[0,0,900,900 car]", boxes=(large,))
    assert reference_vlmr1.bbox(target, everything) == pytest.approx(0.81)
    assert REWARDS["iou"](target, everything) == 0.0


def test_the_scale_up_rewards_compare_answers_and_unlabelled_boxes():
    target = Example(
        "q/2", ("?",), "P. Carter", extra={"possible_answers": ("P. Carter",), "boxes": (CAR, SIGN)}
    )
    written = Reply((f"<think>{ONE} [0,0,1,1 x]</think> <answer> p. carter </answer>",))
    assert reference_vlmr1.scaleup_accuracy(target, written) == 1.0
    assert reference_vlmr1.scaleup_bbox(target, written) == 0.5
    assert reference_vlmr1.scaleup_accuracy(target, Reply(("<answer>P. Carter.</answer>",))) == 0.0
    assert reference_vlmr1.scaleup_bbox(target, Reply(("nothing",))) == 0.0


@pytest.mark.parametrize("name", ["accuracy", "bbox", "scaleup_accuracy", "scaleup_bbox"])
def test_an_example_without_the_fields_of_the_studys_rewards_is_refused(name):
    with pytest.raises(ValueError, match=r"'q/3' has no extra\[.*\], which the study's rewards"):
        getattr(reference_vlmr1, name)(Example("q/3", ("?",), "A"), Reply(("x",)))


OUR_OWN_CASES = [
    (reference_vlmr1.accuracy_of("<answer>A</answer>", "<answer>A</answer>"), 1.0),
    (reference_vlmr1.accuracy_of("a", "A"), 1.0),  # untagged texts are compared in lower case
    (reference_vlmr1.accuracy_of("A", "<answer>A</answer>"), 0.0),
    (reference_vlmr1.accuracy_of(None, "<answer>A</answer>"), 0.0),
    (reference_vlmr1.bbox_of("[0,0,10,10 Car]", "[0,0,10,10 car]"), 1.0),
    (reference_vlmr1.bbox_of("[0,0,10,10 x] [0,0,5,10 y]", "[0,0,10,10 car]"), 0.75),
    (reference_vlmr1.bbox_of("[0,0,10,10 car]", "no box"), 0.0),
    (reference_vlmr1.bbox_of(5, "no box"), 0.0),
    (reference_vlmr1.scaleup_bbox_of("[0,0,10,10 x]", [[0, 0, 10.0, 5]]), 0.5),
    (reference_vlmr1.scaleup_bbox_of("[0,0,10,10 x]", None), 0.0),
    (reference_vlmr1.scaleup_bbox_of(f"[0,0,{'9' * 400},10 x]", [[0, 0, 10.0, 5]]), 0.0),
    (reference_vlmr1.scaleup_bbox_of("[0,0,10,10 x]", [[0, 0, 10]]), 0.0),
    (reference_vlmr1.iou_of([10, 10, 0, 0], [0, 0, 10, 10]), 0.0),
]


def test_the_studys_rewards_by_hand():
    assert [value for value, _ in OUR_OWN_CASES] == [expected for _, expected in OUR_OWN_CASES]
    with pytest.raises(TypeError):
        reference_vlmr1.format_of(None)


def short(text):
    answer = read_answer(text)
    return [] if answer is None else [metrics.NORMALIZERS["reference"](answer)]


def letters(text):
    return list(metrics.multiple_choice([metrics.Tagged(("A",), text)], "reference").answers[0])


def pooled(metric, read, rows):
    taken = [
        metrics.Tagged((read(row["ground_truth_response"]),), row["generated_response"])
        for row in rows
    ]
    return metric(taken, "reference").scores


FUNCTIONS = {
    "vlmr1.accuracy": lambda text, solution: reference_vlmr1.accuracy_of(text, solution),
    "vlmr1.bbox": lambda text, solution: reference_vlmr1.bbox_of(text, solution),
    "vlmr1.format": lambda text: reference_vlmr1.format_of(text),
    "vlmr1.extract_bounding_boxes": lambda text: {
        label: list(box) for label, box in reference_vlmr1.boxes_of(text).items()
    },
    "vlmr1.compute_iou": lambda _, box1, box2: reference_vlmr1.iou_of(box1, box2),
    "vlmr1.xywh_to_xyxy": lambda _, box: [*box[:2], box[0] + box[2], box[1] + box[3]],
    "vlmr1_scaleup.accuracy": lambda text, possible_answers: reference_vlmr1.scaleup_accuracy_of(
        text, possible_answers
    ),
    "vlmr1_scaleup.bbox": lambda text, bboxes: reference_vlmr1.scaleup_bbox_of(text, bboxes),
    "vlmr1_scaleup.format": lambda text: reference_vlmr1.format_of(text),
    "eval.mcq_extract_answer": letters,
    "eval.short_extract_answer": short,
    "eval.mcq_compute_scores": lambda _, rows: pooled(metrics.multiple_choice, read_answer, rows),
    "eval.short_compute_scores": lambda _, rows: pooled(metrics.short_answer, str, rows),
}


@pytest.mark.reference
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_stored_case_of_the_study_is_reproduced(reference, name):
    lines = (reference / "data/reward_cases.jsonl").read_text().splitlines()
    cases = [c for c in map(json.loads, lines) if c["fn"] == name]
    assert cases
    for case in cases:
        call = lambda c=case: FUNCTIONS[name](c["completion"], **c["kwargs"])  # noqa: E731
        if "raises" in case:
            with pytest.raises(getattr(builtins, case["raises"])):
                call()
        else:
            assert call() == case["reward"], case


def test_parse_reference_reads_the_boxes_of_the_studys_cases():
    assert reference_vlmr1.boxes_of(f"<think>{GOLD}</think> [1,2,3,4 x]") == parse_reference(GOLD)
