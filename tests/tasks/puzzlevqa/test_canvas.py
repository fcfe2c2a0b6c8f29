import numpy as np
import pytest

from mmcot_jax.tasks.puzzlevqa.canvas import COLORS, Canvas


def test_a_rectangle_keeps_its_place_and_share_of_the_picture_at_any_size():
    for size in (512, 256, 64):
        canvas = Canvas(size)
        canvas.rectangle([128, 0, 384, 256], COLORS["blue"], 0, radius=0)
        picture = canvas.array()
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.uint8
        assert tuple(picture[size // 4, size // 2]) == (0x6F, 0xA8, 0xDC)
        assert tuple(picture[size // 4, size // 8]) == (255, 255, 255)
        assert tuple(picture[3 * size // 4, size // 2]) == (255, 255, 255)


def test_outlines_are_black_and_width_zero_draws_none():
    outlined, plain = Canvas(512), Canvas(512)
    outlined.circle((256, 256), 100, "#ffffff", 4)
    plain.circle((256, 256), 100, "#ffffff", 0)
    assert tuple(outlined.array()[256, 158]) == (0, 0, 0)
    assert plain.array().min() == 255


def test_a_line_has_its_width():
    canvas = Canvas(512)
    canvas.line([(100, 256), (400, 256)], 8)
    dark = (canvas.array()[:, 250, 0] < 128).sum()
    assert 7 <= dark <= 9


def test_the_font_has_every_digit_and_the_question_mark_in_both_weights():
    for weight in ("Light", "Medium"):
        glyphs = set()
        for text in "0123456789?":
            canvas = Canvas(64)
            canvas.text((256, 256), text, 400, weight)
            picture = canvas.array()
            assert picture.min() < 100
            glyphs.add(picture.tobytes())
        assert len(glyphs) == 11


def test_a_picture_too_small_to_read_is_refused():
    with pytest.raises(ValueError, match=r"picture size 8 is too small .* at least 16"):
        Canvas(8)
