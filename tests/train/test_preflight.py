"""Checks before the first step; those of a whole config are in test_grpo.py."""

import pathlib
from types import SimpleNamespace

import numpy as np
import pytest

from mmcot_jax import data
from mmcot_jax.example import Example, Row
from mmcot_jax.rewards.results import Failure, RewardResult, failure_mask
from mmcot_jax.train.groups import all_right_all_wrong
from mmcot_jax.train.preflight import (
    Preflight,
    batch_summary,
    check_first,
    check_images,
    check_prompt,
    check_room,
    check_taught,
    failure_lines,
)


def test_a_group_that_differs_is_enough_to_learn_from():
    Preflight(groups=8, right=4, wrong=3, informative=1, lines=()).check()
    with pytest.raises(ValueError, match=r"in all 8 groups .* equal \(5 all right, 3 all wrong\)"):
        Preflight(groups=8, right=5, wrong=3, informative=0, lines=()).check()


def test_a_reward_that_scores_nothing_stops_the_run_whatever_the_others_do():
    line = "reward f failed on 16 of 16 samples, first on question 'q', reply 0: TypeError: no"
    found = Preflight(
        groups=8, right=0, wrong=0, informative=8, lines=(), failed=(line,), useless=(line,)
    )
    with pytest.raises(ValueError, match=f"^{line}. Fix it, or take it out of reward_funcs"):
        found.check()
    with pytest.raises(ValueError, match=f"equal .*{line}; mend it, or take it out"):
        found._replace(informative=0, useless=()).check()
    found._replace(useless=()).check()


def test_failed_samples_are_told_apart_from_wrong_ones():
    own = pathlib.Path(__file__).parents[1] / "rewards" / "some_rewards.py"
    names = ("accuracy", f"{own}:trl_length", f"{own}:length", "format")
    c = {"reward_funcs": names, "num_generations": 2, "chat": False}
    kinds = [("trl_length", row, "raised", f"TypeError: no {row}") for row in range(4)]
    kinds.append(("length", 3, "timeout", "no value"))
    values = np.array([[0, np.nan, 1, np.nan]] * 3 + [[0, np.nan, np.nan, np.nan]])
    result = RewardResult(values, tuple(Failure(*kind) for kind in kinds))
    mask = failure_mask(result, ("accuracy", "trl_length", "length", "format"))
    rows = [row("q0", 3), row("q1", 3)]
    failed, useless = failure_lines(result, values.reshape(2, 2, 4), mask, c, rows)
    assert failed == (
        "reward trl_length failed on 4 of 4 samples, first on question 'q0', reply 0: TypeError: "
        "no 0 (grpo.chat is False; auto finds out whether a function reads messages)",
        "reward length failed on 1 of 4 samples, first on question 'q1', reply 1: no value",
        "reward format returned None for all 4 samples",
    )
    assert useless == failed[:1]
    right, wrong = all_right_all_wrong(values.reshape(2, 2, 4)[..., 1])
    assert not right.any() and not wrong.any()


def test_the_batch_in_one_line():
    c = {"prompts_per_step": 8, "num_generations": 4, "gradient_accumulation_steps": 2}
    expected = "8 prompts x 4 generations = 32 sequences = 4 per device x 4 devices x 2"
    assert batch_summary(c, devices=4) == expected


def test_the_longest_prompt_must_leave_room_for_a_completion():
    rows = data.Rows([row(f"q{n}", length) for n, length in enumerate((3, 9, 5))])
    check_room(rows, context=20, max_completion_length=11)
    with pytest.raises(ValueError, match=r"'q1' has a prompt of 9 tokens; .* 20 less .* leaves 8"):
        check_room(rows, context=20, max_completion_length=12)


def row(id: str, length: int) -> Row:
    tokens = np.zeros(length, np.int32)
    return Row(id, tokens, tokens[None], tokens > 0)


def test_a_few_rows_of_each_kind_are_rendered_before_all_are():
    drawn = []

    def stream(kinds, count):
        for number in range(count):
            drawn.append(f"{kinds[0]}/{number}")
            yield Example(drawn[-1], (kinds[0] * 9,), "a")

    def render(example):
        return check_prompt(row(example.id, 9 + example.id.startswith("b")), 20, 11)

    task = SimpleNamespace(stream=stream, LAZY_IMAGES=False, COSMETIC_OPTIONS=("processes",))
    options = {"kinds": ("a", "b"), "count": 5000, "processes": 16}
    with pytest.raises(ValueError, match=r"record 'b/0' has a prompt of 10 tokens; .* leaves 9"):
        check_first(task, options, render)
    assert drawn == ["a/0", "a/1", "a/2", "a/3", "b/0"]
    found = check_first(task, options, render, refuse=False)
    assert [row.id for row in found] == drawn[:4] and len(drawn) == 5 + 8
    task.LAZY_IMAGES = True  # sizes are known without the pictures
    assert check_first(task, options, render) == [] and len(drawn) == 5 + 8


def test_rows_that_teach_nothing_but_their_end_are_refused():
    empty = [row(f"q{n}", 3)._replace(loss=np.arange(3) == 2) for n in range(2)]
    with pytest.raises(ValueError, match=r"data.train has nothing to learn: record 'q0' has no"):
        check_taught(empty)
    check_taught([empty[0], empty[1]._replace(loss=np.arange(3) > 0)])
    check_taught([])


def test_a_reward_that_reads_what_the_model_does_not_compute_is_refused():
    def check(*names, outputs, image=(), image_len=4):
        check_images({"reward_funcs": names, "image_reward_funcs": image}, outputs, image_len)

    check("accuracy", "alignment", outputs=("embedding",), image=("alignment",))
    check("image_text_clip", outputs=("embedding", "pixels", "clip"))
    with pytest.raises(ValueError, match="'image_text_clip' reads the clip of drawn pictures, and"):
        check("image_text_clip", outputs=("embedding",))
    with pytest.raises(ValueError, match=r"reads the pixels of .*; give model.unclip_weights, wh"):
        check("image_objects", outputs=("embedding",))
    with pytest.raises(ValueError, match=r"'alignment' reads the embedding .* computes none of"):
        check("alignment", outputs=())
    with pytest.raises(ValueError, match=r"'image_objects' reads the pixels .* writes text only"):
        check("image_objects", outputs=("pixels",), image_len=0)
    check("goal", "progress", outputs=(), image_len=0)  # they read words too
    with pytest.raises(ValueError, match=r"'goal' reads the pixels .* give model.unclip_weights"):
        check("goal", outputs=("embedding",))
    with pytest.raises(ValueError, match=r"image_reward_funcs is \('iou',\), .* writes text only"):
        check("accuracy", "iou", outputs=(), image=["iou"], image_len=0)
