"""Resizing on the device against Pillow's."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mmcot_jax.models.clip.resize import resize_and_crop


@pytest.mark.parametrize("shape", [(768, 768), (40, 61), (19, 13), (28, 90), (225, 224)])
def test_resizing_is_pillows_to_the_last_bit(shape):
    random = np.random.default_rng(0)
    noise = random.integers(0, 2, (*shape, 3)).astype(np.uint8) * 255
    size, (height, width) = 28, shape
    short = min(shape)
    new = [size if x == short else int(size * x / short) for x in (width, height)]
    resized = Image.fromarray(noise).resize(tuple(new), Image.Resampling.BICUBIC)
    left, top = ((x - size) // 2 for x in new)
    theirs = np.asarray(resized.crop((left, top, left + size, top + size)))
    ours = resize_and_crop(jnp.asarray(noise)[None], size)[0]
    np.testing.assert_array_equal(ours, theirs)
