import subprocess
import sys

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from mmcot_jax.tasks import puzzlevqa
from mmcot_jax.tasks.puzzlevqa import IN_DOMAIN, KINDS, eval_options, load, make_example, plan

STUDY = (
    "circle_size_number", "color_grid", "color_hexagon", "color_number_hexagon",
    "color_overlap_squares", "color_size_circle", "grid_number", "grid_number_color",
    "polygon_sides_color", "polygon_sides_number", "rectangle_height_color",
    "rectangle_height_number", "shape_morph", "shape_reflect", "shape_size_grid",
    "shape_size_hexagon", "size_cycle", "size_grid", "triangle", "venn",
)  # fmt: skip


def same(one, other):
    assert one._replace(prompt=(), rationale=()) == other._replace(prompt=(), rationale=())
    for a, b in zip(one.prompt + one.rationale, other.prompt + other.rationale, strict=True):
        assert np.array_equal(a, b)


def test_there_are_the_study_s_twenty_kinds_and_five_in_domain():
    assert set(STUDY) <= set(KINDS) and len(set(STUDY)) == 20
    assert all(name == kind.name for name, kind in KINDS.items())
    assert set(IN_DOMAIN) < set(KINDS)


def test_an_example_holds_question_chain_letter_and_facts():
    (example,) = load(["venn"], count=1, size=32)
    assert example.id == "venn/train/00000"
    head, image, tail = example.prompt
    assert head == "# Question:\n"
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    assert tail.endswith("\n\n# Pattern:\n")
    options = example.extra["options"]
    assert options["ABCD".index(example.answer)] == example.extra["answer_text"]
    assert example.extra["kind"] == "venn"
    assert example.extra["domain"] == "out"
    assert len(example.rationale) == 9
    assert example.rationale[-1].endswith(f"the answer is: ({example.answer}).")


def test_a_share_of_the_chains_guesses():
    examples = load(["venn"], count=100, size=16, guesses=0.5)
    guesses = [e for e in examples if len(e.rationale) == 1]
    assert 30 < len(guesses) < 70
    said = [e.rationale[0] for e in guesses]
    assert all(text.startswith("# Final Answer:\nTherefore, among (A)") for text in said)
    right = sum(e.rationale[0].endswith(f"the answer is: ({e.answer}).") for e in guesses)
    assert right < len(guesses) / 2
    assert {len(e.rationale) for e in examples} == {1, 9}


def test_puzzles_come_kind_by_kind():
    ids = [example.id for example in load(["venn", "triangle"], count=2, size=16, chain="textual")]
    assert ids == [
        "venn/train/00000",
        "venn/train/00001",
        "triangle/train/00000",
        "triangle/train/00001",
    ]


def test_a_seed_gives_the_same_puzzles_another_seed_others():
    one, repeated, other = (
        load(["venn"], count=3, size=16, seed=seed, chain="textual") for seed in (1, 1, 2)
    )
    for a, b in zip(one, repeated, strict=True):
        same(a, b)
    assert one[0].rationale != other[0].rationale


@pytest.mark.slow
def test_any_number_of_processes_draws_the_same():
    here = load(["venn", "shape_morph"], count=5, size=32)
    there = load(["venn", "shape_morph"], count=5, size=32, processes=2)
    for one, other in zip(here, there, strict=True):
        same(one, other)


def test_test_puzzles_have_no_rationale_and_are_the_same_for_all_seeds():
    one, other = (load(["size_cycle"], count=2, size=16, split="test", seed=s) for s in (1, 2))
    for a, b in zip(one, other, strict=True):
        same(a, b)
        assert a.rationale == ()
        assert a.id.startswith("size_cycle/test/")


def test_a_plan_becomes_examples_one_by_one():
    puzzles = plan(["venn"], count=3)
    example = make_example(puzzles[2], size=16, chain="multimodal", wording="corrected")
    same(example, load(["venn"], count=3, size=16)[2])


def test_a_released_picture_is_reduced_to_the_size_asked_for(tmp_path):
    (puzzle,) = plan(["venn"], count=1)
    path = tmp_path / "picture.png"
    Image.fromarray(np.full((512, 512, 3), 7, np.uint8)).save(path)
    puzzle = puzzle._replace(picture=path)
    example = make_example(puzzle, size=64, chain="none", wording="corrected")
    assert (example.prompt[1] == np.full((64, 64, 3), 7)).all()
    assert example.rationale == ()


def test_a_released_record_may_have_any_caption_and_has_no_facts(tmp_path):
    (puzzle,) = plan(["venn"], count=1)
    path = tmp_path / "picture.png"
    Image.new("RGB", (8, 8)).save(path)
    word = puzzle.word._replace(caption="Circles.")
    puzzle = puzzle._replace(word=word, scene=None, picture=path)
    extra = make_example(puzzle, size=16, chain="none", wording="corrected").extra
    assert (extra["caption"], extra["facts"]) == ("Circles.", ())


def test_trained_kinds_are_in_domain():
    examples = load(["venn", "triangle"], count=1, size=16, split="test", trained=["venn"])
    assert [e.extra["domain"] for e in examples] == ["in", "out"]


def test_a_transfer_set_has_trained_kinds_first_and_a_count_of_its_own():
    kinds = ["venn", "color_grid", "triangle", "size_cycle"]
    trained = ["triangle", "venn", "grid_number"]
    given = dict(count=2, split="test", transfer_count=1)
    ids = [
        "venn/test/00000",
        "venn/test/00001",
        "triangle/test/00000",
        "triangle/test/00001",
        "color_grid/test/00000",
        "size_cycle/test/00000",
    ]
    assert [puzzle.id for puzzle in plan(kinds, trained=trained, **given)] == ids
    examples = load(kinds, trained=trained, size=16, **given)
    assert [e.id for e in examples] == ids
    assert [e.extra["domain"] for e in examples] == ["in"] * 4 + ["out"] * 2
    # Without `trained` the study's five kinds are in domain.
    assert [p.id for p in plan(kinds, **given)][:3] == [
        "triangle/test/00000",
        "triangle/test/00001",
        "venn/test/00000",
    ]


def test_an_evaluation_takes_its_counts_and_the_trained_kinds():
    options = ConfigDict({"kinds": ("venn", "triangle"), "split": "test", "released": ""})
    train = [ConfigDict({"kinds": ["venn"], "count": 3000}), ConfigDict({"kinds": ["venn"]})]
    assert eval_options(options, {"count": 2, "transfer_count": 1}, train) == {
        "kinds": ("venn", "triangle"),
        "split": "test",
        "released": "",
        "count": 2,
        "transfer_count": 1,
        "trained": ("venn",),
    }
    assert eval_options(options, {"count": 2}, train) == options.to_dict()
    assert eval_options({}, {"count": 2, "transfer_count": 1}, [])["trained"] == ()
    few = [{"kinds": ("triangle",), "test_count": 50}]
    asked = {"count": 100, "transfer_count": 1}
    with pytest.raises(
        ValueError, match=r"eval.count is 100 and a training set's test_count 50: it"
    ):
        eval_options({}, asked, few)
    assert eval_options({}, asked | {"count": 50}, few)["count"] == 50
    assert eval_options({"released": "folder"}, asked, few)["count"] == 100


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kinds": ["triangel"]}, "unknown kind 'triangel'; did you mean 'triangle'"),
        ({"kinds": ["venn", "venn"]}, "named twice"),
        ({"split": "valid"}, "unknown split 'valid'; did you mean 'validation'"),
        ({"chain": "spoken"}, "unknown chain 'spoken'; choose from multimodal, textual"),
        ({"wording": "orginal"}, "unknown wording 'orginal'; did you mean 'original'"),
        ({"count": 0}, "count 0 is no number of puzzles"),
        ({"count": 1, "transfer_count": 0}, "count 0 is no number of puzzles"),
        ({"count": None}, "count=None means all released test records"),
        ({"count": 101, "split": "test"}, "count 101 of the test set is more than test_count 100"),
        ({"processes": -1}, "processes -1 is no number of workers"),
        ({"kinds": ["size_cycle"]}, "'size_cycle' has no multimodal chain"),
        ({"guesses": 1.5}, "guesses 1.5 is no share of the chains"),
        ({"size": 8}, "picture size 8 is too small"),
    ],
)
def test_what_cannot_be_loaded_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        load(**({"kinds": ["venn"], "count": 1} | given))


@pytest.mark.slow
@pytest.mark.reference
def test_the_released_records_are_the_test_set(reference):
    folder = reference / "data" / "puzzlevqa"
    examples = load(list(KINDS), count=None, split="test", size=64, released=folder)
    assert len(examples) == 400
    assert examples[0].id == "circle_size_number/test/00000"
    assert examples[0].extra["options"] == ("6", "3", "4", "2")
    assert examples[0].answer == "C"
    with pytest.raises(ValueError, match="has 20 released records of kind 'venn', fewer"):
        load(["venn"], count=21, split="test", released=folder)


def test_no_jax_is_needed_to_draw():
    code = f"import sys, {puzzlevqa.__name__}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
