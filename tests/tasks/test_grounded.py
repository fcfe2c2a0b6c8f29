"""Prompts and chains with boxes: the study's, and ours in the frame the model sees."""

import json
import pathlib

import pytest

from mmcot_jax.boxes import Sight, Space
from mmcot_jax.tasks import _grounded as grounded
from mmcot_jax.tasks import aokvqa, viscot
from mmcot_jax.tasks._grounded import Style
from mmcot_jax.tasks._records import limit, read_study


def no_picture():
    raise AssertionError("words need no picture")


FIELDS = {
    "img_filename": "images/1.jpg",
    "img_size": [640, 427],
    "has_multiple_questions": False,
    "questions": "What is on the plate?",
    "possible_answers": {"A": "fish", "B": "corn"},
    "true_answers": "A",
    "relevant_entities": [{"fish": [12.5, 30, 100, 200.25]}, {r"a \1 b": [0, 0, 640, 427]}],
    "interleaved_explanation": "The fish [12.5, 30,100,200.25 ] is on it [0,0,640,427] [1,2,3,4].",
}


def written(style, **fields):
    return grounded.write(aokvqa.read("7", FIELDS | fields, no_picture, True), style)


def test_a_prompt_with_options_and_its_target_in_the_models_pixels():
    words = written(Style("options"))
    assert words.prompt == (
        "Select all correct answers to the following question from the available options. "
        "Question: What is on the plate?\nOptions: (A) fish (B) corn.\n"
        "First think about the question in the mind using all relevant entities from the scene "
        "that are necessary to answer the question, along with their bounding boxes coordinates "
        "in plain text format 'x1,y1,x2,y2 object'. Then, provide with the thinking process in "
        "<think> </think> tags and then output the final answer in <answer> </answer> tags."
    )
    # the place that no entity is known for is left out
    assert words.target == (
        r"<think>The fish [12,29,113,226 fish] is on it [0,0,644,420 a \1 b] .</think> "
        "<answer>A</answer>"
    )
    assert (words.answer, words.boxes[0].corners) == ("A", (12, 29, 113, 226))
    assert words.boxes[0].space == Space("resized", 644, 420)


def test_the_studys_frame_and_its_unknown_boxes_are_options():
    words = written(Style("options", frame="original", wording="original"))
    assert words.target == (
        r"<think>The fish [12,30,112,230 fish] is on it [0,0,640,427 a \1 b] [1,2,3,4].</think> "
        "<answer>A</answer>"
    )


def test_the_open_form_is_answered_by_words():
    words = written(Style("open"))
    assert words.prompt.endswith("</answer> tags.\nQuestion: What is on the plate?")
    assert words.target.endswith("<answer>fish</answer>")
    plain = written(Style("plain"))
    assert (plain.prompt, plain.target) == ("What is on the plate?", "<answer>fish</answer>")


def test_without_boxes_neither_prompt_nor_chain_has_any():
    words = written(Style("options", boxes=False))
    assert "bounding boxes" not in words.prompt
    assert words.target == "<think>The fish is on it .</think> <answer>A</answer>"
    assert written(Style("open", boxes=False)).target.startswith("<think>The fish is on it .<")
    kept = written(Style("open", boxes=False, wording="original"))
    assert "bounding boxes" not in kept.prompt and "[12,29,113,226 fish]" in kept.target


def test_two_questions_share_the_options():
    words = written(
        Style("options"),
        questions=["Q1?", "Q2?"],
        possible_answers={"A": "yes", "B": "no", "C": "yes", "D": "no"},
        true_answers=["A", "D"],
    )
    assert words.prompt.startswith(
        "Select all correct answers to the following questions from the available options. Choose "
        "at least one answer per question. Question: Q1?\nOptions: (A) yes (B) no.\n"
        "Question: Q2?\nOptions: (C) yes (D) no.\nFirst think about the questions in the mind"
    )
    assert words.answer == "A, D"


@pytest.mark.parametrize(
    ("style", "complaint"),
    [
        (Style("letters"), "form is 'letters'; choose from options, open, plain"),
        (Style(frame="thousand"), "frame is 'thousand'; choose from resized, original"),
        (Style(wording="ours"), "wording is 'ours'; choose from corrected, original"),
    ],
)
def test_an_unknown_style_is_refused(style, complaint):
    with pytest.raises(ValueError, match=complaint):
        style.check()


def parts(**options):
    return grounded.select(list(range(1885)), **{"split": "train", "count": 0} | options)


def test_the_two_parts_of_training_are_the_studys_and_share_nothing_with_validation():
    first, rest = parts(part="first"), parts(part="rest")
    assert (len(first), len(rest)) == (1000, 885)
    assert first[:5] == [574, 1289, 878, 731, 626]
    assert sorted(first + rest) == parts() == list(range(1885))
    kept = parts(split="validation", validation_count=100)
    assert parts(part="rest", validation_count=100) + kept == rest
    assert not set(kept) & set(parts(validation_count=100))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"part": "half"}, "part is 'half'; choose from all, first, rest"),
        ({"validation_count": 1885}, "validation_count is 1885 of 1885 records; leave some for"),
        ({"split": "validation"}, "validation_count is 0: no record is kept from training"),
    ],
)
def test_impossible_parts_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        parts(**options)


def test_more_records_than_there_are_is_refused():
    assert limit([1, 2, 3], 2, "train") == [1, 2]
    assert limit([1, 2, 3], 0, "train") == [1, 2, 3]
    for count in (2, -1):
        with pytest.raises(ValueError, match=f"count {count} of 1 train records; give 0 for all"):
            limit([1], count, "train")
    with pytest.raises(ValueError, match="the train split has no record; give data that has some"):
        limit([], 0, "train")


def said(words):
    return {"prompt": words.prompt, "response": words.target}


def driving(sample, explanation_type):
    style = Style("options", explanation_type == "bbox", "original", wording="original")
    return said(grounded.write(read_study("drivingvqa/x", sample, no_picture), style))


def learnt(sample, explanation_type):
    style = Style("open", explanation_type == "bbox", "resized", Sight(16), "original")
    return said(grounded.write(aokvqa.read("x", sample, no_picture, True), style))


def official(sample, explanation_type):
    style = Style("options", explanation_type == "bbox", "original")
    return said(grounded.write(aokvqa.read("x", sample, no_picture, False), style))


def scaled(sample, min_pixels, max_pixels):
    record = viscot.read("x", sample, [pathlib.Path()])
    words = grounded.write(record, Style("open", sight=Sight(min_pixels, max_pixels)))
    return {
        "prompt": words.prompt,
        "bboxes": [list(box.corners) for box in words.boxes],
        "possible_answers": list(record.possible_answers),
    }


def without_places(text):
    record = aokvqa.read("x", FIELDS | {"interleaved_explanation": text}, no_picture, True)
    target = grounded.write(record, Style("options", boxes=False)).target
    return target.removeprefix("<think>").removesuffix("</think> <answer>A</answer>")


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "function", "count", "mended"),
    [
        ("vlmr1.format_prompt", driving, 11, 0),
        ("vlmr1.remove_bbox", without_places, 6, 0),
        ("vlmr1.format_okvqa_prompt_train", learnt, 4, 2),  # a list of one letter
        ("vlmr1.format_okvqa_prompt_val", official, 3, 1),  # a fifth option
        ("vlmr1_scaleup.format_prompt", scaled, 20, 0),
    ],
)
def test_every_stored_prompt_of_the_study_is_reproduced(reference, name, function, count, mended):
    lines = (reference / "data/format_cases.jsonl").read_text().splitlines()
    cases = [c for c in map(json.loads, lines) if c["fn"] == name]
    assert len(cases) == count
    assert sum("raises" in case for case in cases) == mended
    for case in cases:
        result = function(**case["args"])
        assert result == case["result"] or "raises" in case
