import pytest

from mmcot_jax.tasks.puzzlevqa import layouts


def test_corners_go_clockwise_from_the_right():
    square = [(10, 0), (0, 10), (-10, 0), (0, -10)]  # y points down
    for corner, expected in zip(layouts.corners((0, 0), 10, 4), square, strict=True):
        assert corner == pytest.approx(expected)


def test_a_triangle_has_its_tip_up_and_a_square_its_base_flat():
    assert layouts.upright((0, 0), 10, 3)[0] == pytest.approx((0, -10))
    (_, first), (_, second), *_ = layouts.upright((0, 0), 10, 4)
    assert first == pytest.approx(-second)


def test_coordinates_are_cut_towards_zero_at_quarters():
    assert [layouts.truncate(x) for x in (1.99, 0.25, -0.3)] == [1.75, 0.25, -0.25]


def test_cells_go_row_by_row():
    assert layouts.cell(0) == (128, 128)
    assert layouts.cell(5) == (384, 256)


def test_six_labels_are_read_back_from_their_rows():
    rows = layouts.triangle_rows([0, 1, 2, 3, 4, 5])
    assert rows == {"top": [0], "middle": [1, 5], "bottom": [2, 3, 4]}
    assert layouts.from_triangle_rows(rows) == [0, 1, 2, 3, 4, 5]
