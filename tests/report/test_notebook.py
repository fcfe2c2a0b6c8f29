"""Runs in a notebook: curves, results after each stage, chains with pictures and boxes."""

import base64
import io
import json
import re

import numpy as np
import pytest
from helpers.run_folders import make_run, write_lines
from PIL import Image

from mmcot_jax.report import notebook, questions, runs
from mmcot_jax.tasks import shapes

SHAPES = {"kinds": ["color_at"], "size": 48, "form": "open", "count": 3}


@pytest.fixture
def folder(tmp_path):
    return make_run(tmp_path / "a")


def pictures(shown):
    """The pictures of HTML, RGB."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', shown._repr_html_())
    return [Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB") for data in found]


def with_questions(folder):
    """The run, as if it had been evaluated on two questions of shapes."""
    config = json.loads((folder / "config.json").read_text())
    config["data"] = {"task": "shapes", "grpo": SHAPES | {"split": "train", "seed": 1}}
    config["eval"] = {"sets": {"shapes": SHAPES | {"split": "test"}}}
    (folder / "config.json").write_text(json.dumps(config))
    rows = [
        {
            "id": example.id, "prompt": "<|im_start|>system\nBe good.<|im_end|>\n<|im_start|>user\n"
            "<image>What colour?", "reply": "red", "answer": "red", "correct": True,
            "space": ["resized", 48, 48], "boxes": [["it", 0, 0, 24, 24]],
            "gold_boxes": [["it", 24, 24, 46, 46]],
        }
        for example in shapes.stream(**SHAPES, split="test")
    ]  # fmt: skip
    write_lines(folder / "completions/eval_shapes.jsonl", rows[:2])
    return folder


def test_curves_are_panels_named_by_stage_and_metric(folder):
    curves = notebook.curves(folder, "grpo/reward")
    (panel,) = curves.figure.axes
    (line,) = panel.lines
    assert panel.get_title() == "grpo/reward"
    assert line.get_xydata().tolist() == [[0, 0], [1, 0.5], [2, 1]]
    assert Image.open(io.BytesIO(curves._repr_png_())).width == 256  # 3.2 inches
    with pytest.raises(ValueError, match="a metric is 'grpo/rewrd', did you mean 'grpo/reward'"):
        notebook.curves(folder, "grpo/rewrd")
    with pytest.raises(ValueError, match=r"name the metrics to show; .* has grpo/reward"):
        notebook.curves(folder)


def test_results_stand_beside_those_of_the_stage_before(folder):
    (folder / "results_sft.json").write_text('{"scenes": {"strict": {"pass@1": 0.25}}}')
    assert notebook.results(folder, "pass@1")._repr_html_() == (
        "<table><tr><th></th><th>results_sft</th><th>results</th></tr>"
        "<tr><td>scenes/strict/pass@1</td><td>0.2500</td><td>0.6000</td></tr></table>"
    )
    with pytest.raises(ValueError, match="no result is named iou; there are scenes/strict/pass@1"):
        notebook.results(folder, "iou")
    for path in folder.glob("results*.json"):
        path.unlink()
    with pytest.raises(ValueError, match="has no results yet; let the run finish"):
        notebook.results(folder)


def test_a_drawn_picture_stands_where_the_chain_has_it_and_words_are_no_html(folder):
    shown = notebook.chains(folder, "grpo_step_00002", count=1, drawn=True)
    _, picture = pictures(shown)  # the first is the question's
    assert picture.size == (8, 8) and picture.getpixel((0, 0)) == (99, 99, 99)
    text = shown._repr_html_()
    assert re.search(r">A <img [^>]+> drawn: &lt;/script&gt;&lt;script&gt;alert\(1\)", text)
    assert "answer: Yes<br>right<br>reward: 2.2<br>advantage: 0.70" in text
    json.dumps(text).encode()
    text.encode()


def test_a_question_s_picture_comes_from_the_data_with_boxes_of_two_colours(folder):
    shown = notebook.chains(with_questions(folder), "eval_shapes", count=2)
    first, second = pictures(shown)
    assert first.size == second.size == (192, 192)
    colours = np.asarray(first).reshape(-1, 3).tolist()
    for colour in (notebook.GOLD, notebook.FOUND):
        assert [int(colour[i : i + 2], 16) for i in (1, 3, 5)] in colours
    assert "Be good" not in shown._repr_html_() and "What colour?" in shown._repr_html_()


def test_pictures_are_those_of_the_questions_asked_for(folder):
    (run,) = runs.read([with_questions(folder)])
    examples = list(shapes.stream(**SHAPES, split="test"))
    found = questions.read_pictures(run, "eval_shapes", [examples[1].id, "no such"])
    assert list(found) == [examples[1].id]
    np.testing.assert_array_equal(found[examples[1].id][0], examples[1].prompt[0])
    (trained,) = shapes.stream(**SHAPES | {"count": 1}, seed=1)
    found = questions.read_pictures(run, "grpo_step_00002", [trained.id])
    np.testing.assert_array_equal(found[trained.id][0], trained.prompt[0])


def test_of_two_sets_whose_names_end_alike_the_longer_is_meant(folder):
    (run,) = runs.read([with_questions(folder)])
    sets = run.config["eval"]["sets"]
    both = {"shapes": sets["shapes"] | {"split": "train"}, "my_shapes": sets["shapes"]}
    run = run._replace(config=run.config | {"eval": run.config["eval"] | {"sets": both}})
    ids = [example.id for example in shapes.stream(**SHAPES, split="test")]
    assert set(questions.read_pictures(run, "eval_my_shapes", ids)) == set(ids)


def test_a_run_without_its_data_says_so_and_shows_its_chains(folder):
    lines = (folder / "completions/eval.jsonl").read_text()
    (folder / "completions/eval.jsonl").write_text(lines.replace('["p/0.png"]', "[]"))
    text = notebook.chains(folder, "eval", count=1)._repr_html_()
    assert "pictures of the questions are not shown: " in text and "names no data" in text
    assert "No picture" in text and "[picture]" in text


def test_a_picture_whose_file_is_gone_is_named(folder):
    (folder / "completions/p/0.png").unlink()
    text = notebook.chains(folder, "grpo_step_00002", count=1, drawn=True)._repr_html_()
    assert "A [0.png is missing] drawn: " in text and "USER: [picture] Is it red?" in text


def test_chains_that_are_not_there(folder):
    assert "no chain with" in notebook.chains(folder, "eval", correct=True)._repr_html_()
    with pytest.raises(ValueError, match="a file of completions is 'evil', did you mean 'eval'"):
        notebook.chains(folder, "evil")
    for path in folder.glob("completions/*.jsonl"):
        path.unlink()
    with pytest.raises(ValueError, match="has no completions yet"):
        notebook.chains(folder)


def test_an_example_is_shown_with_the_chain_that_sft_teaches():
    shown = notebook.examples(shapes.stream(**SHAPES), count=2)
    assert len(pictures(shown)) == 2
    assert "&lt;think&gt;The shape at" in shown._repr_html_()
