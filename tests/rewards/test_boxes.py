"""The reward for boxes: one-to-one, with recall, nothing for a box of the whole picture."""

import pytest

from mmcot_jax.boxes import Box, Space
from mmcot_jax.example import Example, Reply
from mmcot_jax.rewards import boxes

PHOTO = Space("resized", 100, 100)
CAR, SIGN = Box("car", 0, 0, 10, 10, PHOTO), Box("road sign", 50, 50, 60, 60, PHOTO)


def reward(text, *gold):
    return boxes.iou(Example("q/1", ("?",), "A", extra={"boxes": gold}), Reply((text,)))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<think>[0,0,10,10 car] [50,50,60,60 sign]</think>", 1.0),
        ("<think>[50, 50, 60, 60 x] [0, 0, 10, 10]</think>", 1.0),  # order and labels do not count
        ("<think>[0,0,10,10 car]</think>", 2 / 3),  # one of two
        ("<think>[0,0,10,10 car] [0,0,10,10 car]</think>", 0.5),  # one gold box is matched once
        ("<think>[0,0,10,10 a] [50,50,60,60 b] [1,1,2,2 c] [3,3,4,4 d]</think>", 2 / 3),
        ("<think>[5,0,15,10 car]</think>", 2 * (1 / 3) / 3),
        ("<think>[0,0,100,100 all]</think>", 0.0),
        ("<think>nothing</think>", 0.0),
        ("[0,0,10,10 car] [50,50,60,60 sign]", 0.0),  # outside a thought
        ("<think>[0,0,10,10 car]", 0.0),  # a thought that was not closed
    ],
)
def test_every_box_of_either_side_counts(text, value):
    assert reward(text, CAR, SIGN) == pytest.approx(value)


def test_the_best_pairing_is_taken_not_the_first():
    # the first found box overlaps both; giving it to the nearer one leaves nothing to the second
    near, far = Box("a", 0, 0, 10, 10, PHOTO), Box("b", 8, 0, 18, 10, PHOTO)
    found = "<think>[4,0,14,10 x] [0,0,10,10 y]</think>"
    assert reward(found, near, far) == pytest.approx((1 + 60 / 140) / 2)


def test_a_gold_box_as_large_as_the_picture_can_be_matched():
    whole = Box("table", 0, 0, 100, 100, PHOTO)
    assert reward("<think>[0,0,100,98 table]</think>", whole) == pytest.approx(0.98)


def test_a_question_without_boxes_has_no_reward_and_a_missing_field_is_refused():
    assert reward("<think>[0,0,10,10 car]</think>") is None
    with pytest.raises(ValueError, match=r"'q/1' has no extra\['boxes'\]; give its boxes, \(\)"):
        boxes.iou(Example("q/1", ("?",), "A"), Reply(("x",)))
