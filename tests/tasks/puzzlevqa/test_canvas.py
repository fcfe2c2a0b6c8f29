import random

import numpy as np
import pytest
from PIL import Image

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


def shapes(rng):
    """Yields (method, arguments) of shapes, some at the picture's edges or outside it."""

    def point():
        return rng.uniform(-80, 592), rng.uniform(-80, 592)

    for _ in range(rng.randrange(6)):
        fill, width = rng.choice([*COLORS.values(), None]), rng.choice([0, 2.5, 20])
        (x0, x1), (y0, y1) = (sorted(side) for side in zip(point(), point(), strict=True))
        yield rng.choice(
            [
                ("polygon", ([point() for _ in range(rng.randrange(3, 7))], fill, width)),
                ("circle", (point(), rng.uniform(5, 200), fill, width)),
                ("rectangle", ((x0, y0, x1 + 60, y1 + 60), fill, width, rng.uniform(0, 25))),
                ("line", ([point() for _ in range(rng.randrange(2, 5))], width)),
                ("text", (point(), rng.choice("0189?"), rng.choice([30, 120]), "Light")),
            ]
        )


def test_a_picture_that_shares_shapes_with_the_last_one_is_drawn_as_a_whole():
    rng = random.Random(0)
    drawn = []
    for _ in range(150):
        # some shapes of the last picture, in its order, and others between them
        drawn = [x for x in drawn if rng.random() < 0.7]
        for shape in shapes(rng):
            drawn.insert(rng.randrange(len(drawn) + 1), shape)
        canvas = Canvas(64)
        for method, given in drawn:
            getattr(canvas, method)(*given)
        whole = canvas._image.resize((64, 64), Image.Resampling.LANCZOS)
        assert np.array_equal(canvas.array(), np.asarray(whole))


def test_a_finished_picture_does_not_change_with_what_is_drawn_later():
    canvas = Canvas(64)
    assert canvas.array().min() == 255
    canvas.circle((256, 256), 100, "#000000", 0)
    first = canvas.array()
    assert not first.flags.writeable and tuple(first[32, 32]) == (0, 0, 0)
    canvas.circle((256, 256), 100, "#ffffff", 0)
    assert canvas.array().min() == 255 and first.min() == 0
