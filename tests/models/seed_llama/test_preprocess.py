import numpy as np
import pytest
from PIL import Image

from mmcot_jax.models.seed_llama.preprocess import preprocess

WIDE = np.zeros((4, 8, 3), np.uint8)
WIDE[:, :2], WIDE[:, 6:] = 200, 100


def test_a_picture_of_that_size_is_left_alone():
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    for variant in ("crop", "square", "square_bicubic"):
        np.testing.assert_array_equal(preprocess(image, 6, variant=variant), image)


def test_a_crop_keeps_the_ratio_and_loses_the_sides_a_square_squeezes_them_in():
    assert (preprocess(WIDE, 4) == 0).all()
    square = preprocess(WIDE, 4, variant="square")
    assert square.shape == (4, 4, 3)
    assert (square[:, 0] > 100).all()
    bicubic = preprocess(WIDE, 4, variant="square_bicubic")
    assert not np.array_equal(square, bicubic)


def test_an_odd_rest_is_cut_as_torchvision_cuts_it():
    # 10 x 7 -> 5 x 3 at a shorter side of 3: int(30 / 7) = 4, offset round(0.5) = 0
    image = np.zeros((7, 10, 3), np.uint8)
    image[:, :2] = 255
    assert preprocess(image, 3).shape == (3, 3, 3)
    assert (preprocess(image, 3)[:, 0] > 128).all()


def test_grey_and_transparent_pictures_become_colours():
    grey = preprocess(np.full((3, 3), 7, np.uint8), 3)
    assert (grey == 7).all()
    assert grey.shape == (3, 3, 3)
    clear = np.zeros((3, 3, 4), np.uint8)
    clear[..., 0] = 9
    assert preprocess(clear, 3)[0, 0].tolist() == [9, 0, 0]
    assert preprocess(Image.fromarray(clear), 3)[0, 0].tolist() == [9, 0, 0]


def test_other_ways_and_other_arrays_are_refused():
    with pytest.raises(ValueError, match=r"model.preprocess is 'native'; choose from crop, sq"):
        preprocess(WIDE, 4, variant="native")
    with pytest.raises(ValueError, match=r"an image is float32 \[4 *, *4\]; give uint8 \[H W\]"):
        preprocess(np.zeros((4, 4), np.float32), 4)
