"""Images as preprocessing takes them: blank ones, of which only the size counts."""

import numpy as np
import pytest

from mmcot_jax.example import Example
from mmcot_jax.models.chameleon.preprocess import preprocess as chameleon
from mmcot_jax.models.qwen25vl.preprocess import preprocess as qwen
from mmcot_jax.models.seed_llama.preprocess import preprocess as seed_llama
from mmcot_jax.nn.pixels import is_blank

BLANK = np.broadcast_to(np.zeros((), np.uint8), (100, 150, 3))


@pytest.mark.parametrize(
    "preprocess",
    [
        lambda image: chameleon(image, 32),
        lambda image: seed_llama(image, 32, variant="crop"),
        lambda image: seed_llama(image, 32, variant="square"),
        lambda image: qwen(image, min_pixels=56 * 56, max_pixels=10_000),
    ],
)
def test_a_blank_image_becomes_what_a_black_one_does(preprocess):
    found, expected = preprocess(BLANK), preprocess(BLANK.copy())
    assert is_blank(found) and not is_blank(expected)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("backbone", ["chameleon", "seed_llama", "qwen"])
def test_a_row_with_a_blank_image_has_the_size_of_the_row(backbone, request):
    renderer = request.getfixturevalue(backbone)[0].renderer
    noise = np.random.default_rng(0).integers(0, 255, BLANK.shape, np.uint8)
    row, blank = (renderer.prompt(Example("a", (x, "red"), "A")) for x in (noise, BLANK))
    for one, other in zip(row, blank, strict=True):
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other)
    assert [x.shape for x in row.images] == [x.shape for x in blank.images]
    assert (row.windows is None) == (blank.windows is None)
    if row.windows is not None:
        assert row.windows.cells.shape == blank.windows.cells.shape
        np.testing.assert_array_equal(row.windows.at, blank.windows.at)
        np.testing.assert_array_equal(row.windows.source, blank.windows.source)
