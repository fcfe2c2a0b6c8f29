"""Checks before the first step; those of a whole config are in test_grpo.py."""

from types import SimpleNamespace

import numpy as np
import pytest

from mmcot_jax import data
from mmcot_jax.example import Example, Row
from mmcot_jax.train.checks import (
    check_first,
    check_images,
    check_prompt,
    check_room,
    check_taught,
)


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
