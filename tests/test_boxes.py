"""Boxes: read from text, converted between frames, compared; sizes of resized pictures."""

import json
import random

import pytest
from scipy.optimize import linear_sum_assignment

from mmcot_jax.boxes import (
    Box,
    Sight,
    Space,
    convert,
    from_xywh,
    iou,
    match,
    parse,
    parse_reference,
    smart_resize,
    thousand,
)

PHOTO = Space("original", 640, 427)


def test_a_box_of_left_top_width_height_and_its_notation():
    box = from_xywh("road sign", [10.7, 20.2, 30.5, 40.9], PHOTO)
    assert box.corners == (10.7, 20.2, 41.2, 61.099999999999994)
    assert box.notation == "[10,20,41,61 road sign]"
    assert box.area == pytest.approx(30.5 * 40.9)
    with pytest.raises(ValueError, match=r"\[1, 2, 3\] of 'car' has 3 numbers; give x, y, w, h"):
        from_xywh("car", [1, 2, 3], PHOTO)


def test_a_box_of_nearly_the_whole_picture_covers_it():
    assert Box("", 0, 0, 640, 427, PHOTO).covers_image
    assert not Box("", 0, 0, 640, 380, PHOTO).covers_image
    assert not Box("", 640, 427, 0, 0, PHOTO).covers_image


def test_the_frames_of_a_photograph():
    assert Sight().space(PHOTO) == Space("resized", 644, 420)
    fish = from_xywh("fish", [12.5, 30, 100, 200.25], PHOTO)
    seen = convert(fish, Space("resized", 644, 420))
    assert seen.notation == "[12,29,113,226 fish]"
    assert convert(fish, thousand()).corners == pytest.approx(
        (19.53, 70.26, 175.78, 539.23), abs=0.01
    )


def test_any_box_comes_back_from_any_frame():
    rng = random.Random(0)
    for _ in range(200):
        photo = Space("original", rng.randint(28, 4000), rng.randint(28, 4000))
        box = Box("x", *(rng.uniform(0, 4000) for _ in range(4)), photo)
        for space in (
            Sight(max_pixels=400_000).space(photo),
            thousand(),
            Space("original", 1, 1),
        ):
            there = convert(box, space)
            assert there.space == space
            back = convert(there, photo)
            assert back.corners == pytest.approx(box.corners, rel=1e-12)
            assert (back.label, back.space) == ("x", photo)


@pytest.mark.parametrize(
    ("height", "width", "bounds", "expected"),
    [
        (28, 28, (16, 3_686_400), (28, 28)),
        (28, 28, (3136, 3_686_400), (56, 56)),
        (42, 70, (16, 3_686_400), (56, 56)),  # 1.5 and 2.5 times 28, halves to the even number
        (1, 1, (16, 3_686_400), (28, 28)),
        (2000, 3000, (16, 3_686_400), (1540, 2324)),
    ],
)
def test_sides_become_multiples_of_28_within_the_bounds(height, width, bounds, expected):
    small, large = bounds
    assert smart_resize(height, width, min_pixels=small, max_pixels=large) == expected


def test_too_thin_a_picture_is_refused():
    with pytest.raises(ValueError, match="picture of 10 x 2001 pixels is more than 200 times"):
        smart_resize(2001, 10, min_pixels=16, max_pixels=100)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the [1,2,3,4 car] is", [("car", 1, 2, 3, 4)]),
        ("[1, 2 ,3,  4  road sign ]", [("road sign", 1, 2, 3, 4)]),
        ("[1.5,2.25,3.,.5 car]", [("car", 1.5, 2.25, 3, 0.5)]),
        ("[-1,+2,3,4 car]", [("car", -1, 2, 3, 4)]),
        ("[1,2,3,4, car]", [("car", 1, 2, 3, 4)]),
        ("[1,2,3,4]", [("", 1, 2, 3, 4)]),
        ("[1,2,3,4 2 cars]", [("2 cars", 1, 2, 3, 4)]),
        ("[1,2,3,4 car][5,6,7,8 car]", [("car", 1, 2, 3, 4), ("car", 5, 6, 7, 8)]),
        ("[[1,2,3,4 car]]", [("car", 1, 2, 3, 4)]),
        ("[1,2,3,4 ,] [1,2,3,4 , ]", [("", 1, 2, 3, 4)] * 2),
        ("[1,2,3,4 ,5] [1, 2, 3, 4 , 5] [1,2,3,4car]", []),
        ("[1,2,3,4,5] [1,2,3] (1,2,3,4 car) [a,b,c,d car] [1,2,3,4 car", []),
        (f"[{'9' * 5000},2,3,4 car]", []),
    ],
)
def test_boxes_are_read_with_spaces_fractions_and_several_of_one_label(text, found):
    assert [(b.label, *b.corners) for b in parse(text, PHOTO)] == found
    assert all(b.space == PHOTO for b in parse(text, PHOTO))


def test_a_notation_is_read_back():
    box = Box("yellow square", 3, 4, 50, 60, PHOTO)
    assert parse(f"There is {box.notation}.", PHOTO) == [box]


def test_parse_reference_keeps_the_last_box_of_a_label_and_none_with_spaces():
    text = "[1,2,3,4 Car] [5,6,7,8 car] [1, 2, 3, 4 bus] [1.0,2,3,4 van] [1,2,3,4]"
    assert parse_reference(text) == {"car": (5, 6, 7, 8)}
    assert parse_reference(f"[{'9' * 5000},2,3,4 car]") == {}


@pytest.mark.reference
def test_every_stored_resizing_of_the_study_is_reproduced(reference):
    lines = (reference / "data/format_cases.jsonl").read_text().splitlines()
    cases = [c for c in map(json.loads, lines) if c["fn"] == "smart_resize"]
    assert len(cases) == 123
    for case in cases:
        assert list(smart_resize(**case["args"])) == case["result"]


CAR, SIGN = Box("car", 0, 0, 10, 10, PHOTO), Box("road sign", 50, 50, 60, 60, PHOTO)


def test_iou_is_intersection_over_union():
    assert iou(CAR, CAR) == 1.0
    assert iou(CAR, CAR._replace(x0=5, x1=15)) == 50 / 150
    assert iou(CAR, SIGN) == 0.0
    inverted = CAR._replace(x0=10, x1=0)
    assert iou(inverted, inverted) == 0.0
    with pytest.raises(ValueError, match=r"cannot be compared; boxes\.convert one"):
        iou(CAR, CAR._replace(space=Space("original", 200, 200)))


def test_boxes_are_matched_one_to_one_for_the_largest_total_iou():
    near = CAR._replace(x0=4, x1=14)
    assert match([near, CAR], [CAR]) == [(1, 0, 1.0)]
    assert match([SIGN, CAR], [CAR, SIGN]) == [(0, 1, 1.0), (1, 0, 1.0)]
    assert match([CAR], [SIGN]) == match([], [CAR]) == match([CAR], []) == []


def test_boxes_of_two_frames_are_not_matched():
    other = CAR._replace(space=Space("resized", 640, 427))
    for found, gold in (([other], [CAR]), ([CAR], [CAR, other])):
        with pytest.raises(ValueError, match=r"cannot be compared; boxes\.convert one"):
            match(found, gold)


def test_the_ious_of_a_matching_are_those_of_the_pairs():
    rng = random.Random(0)

    def some(n):
        edges = [[rng.uniform(0, 640) for _ in range(4)] for _ in range(n)]
        return [Box("", *edge, PHOTO) for edge in edges]

    found, gold = some(400), some(5)
    assert all(iou(found[f], gold[g]) == value for f, g, value in match(found, gold))
    rows = [
        [0 if f.covers_image and not g.covers_image else iou(f, g) for g in gold] for f in found
    ]
    best = linear_sum_assignment(rows, maximize=True)
    total = sum(rows[f][g] for f, g in zip(*best, strict=True))
    assert sum(value for *_, value in match(found, gold)) == pytest.approx(total)


def test_a_box_of_the_whole_picture_matches_only_another():
    everything = Box("", 0, 0, 640, 427, PHOTO)
    assert match([everything], [CAR]) == []
    assert match([everything], [everything]) == [(0, 0, 1.0)]
