"""Squares for the picture tokenizer, by hand and as Hugging Face's processor makes them."""

import numpy as np
import pytest
from PIL import Image

from mmcot_jax.models.chameleon.preprocess import preprocess


def noise(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def test_a_square_of_the_right_size_passes_through():
    image = noise(8, 8)
    for variant in ("native", "hf"):
        assert (preprocess(image, 8, variant=variant) == image).all()


def test_the_middle_is_kept_and_the_odd_column_goes_on_the_right():
    image = np.arange(7, dtype=np.uint8)[None, :, None].repeat(4, 0).repeat(3, 2)
    # [0 1 2 3 4 5 6] -> offset (7 - 4) // 2 = 1
    assert preprocess(image, 4)[0, :, 0].tolist() == [1, 2, 3, 4]


def test_the_longer_side_is_rounded_natively_and_cut_by_hf():
    image = noise(300, 401)
    # 401 * 200 / 300 = 267.33 -> 267 in both; 400.8 -> 401 and 400
    assert (preprocess(image, 200) == preprocess(image, 200, variant="hf")).all()
    longer = np.asarray(
        Image.fromarray(noise(250, 501)).resize((401, 200), Image.Resampling.LANCZOS)
    )
    assert (preprocess(noise(250, 501), 200) == longer[:, 100:300]).all()
    cut = np.asarray(Image.fromarray(noise(250, 501)).resize((400, 200), Image.Resampling.LANCZOS))
    assert (preprocess(noise(250, 501), 200, variant="hf") == cut[:, 100:300]).all()


def test_what_is_transparent_lies_on_white():
    image = np.array([[[10, 20, 30, 0], [10, 20, 30, 255]], [[0, 0, 0, 128], [90, 90, 90, 77]]])
    native = preprocess(image.astype(np.uint8), 2)
    # 255 * (1 - 128/255) = 127; 255 * 178/255 + 90 * 77/255 = 205.18
    assert native.tolist() == [[[255] * 3, [10, 20, 30]], [[127] * 3, [205] * 3]]


def test_a_grey_image_becomes_three_channels():
    assert preprocess(np.full((2, 2), 7, np.uint8), 2).tolist() == [[[7] * 3] * 2] * 2


@pytest.mark.parametrize(
    ("height", "width", "channels"), [(37, 91, 3), (90, 64, 3), (501, 250, 4), (32, 32, 4)]
)
def test_hf_is_what_transformers_does(height, width, channels):
    from transformers.models.chameleon.image_processing_pil_chameleon import (
        ChameleonImageProcessorPil,
    )

    processor = ChameleonImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    image = Image.fromarray(noise(height, width, channels))
    theirs = processor(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    ours = preprocess(image, 32, variant="hf").astype(np.float32) * 0.0078 - 1
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_what_is_no_image_says_so():
    with pytest.raises(ValueError, match=r"an image is float64 \[4, 4, 3\]; give uint8"):
        preprocess(np.zeros((4, 4, 3)), 4)
    with pytest.raises(ValueError, match=r"model.preprocess is 'meta'; choose from native, hf"):
        preprocess(noise(4, 4), 4, variant="meta")
