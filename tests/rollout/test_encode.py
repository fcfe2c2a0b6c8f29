"""Rows through the picture tokenizer, once."""

import jax
import numpy as np
import pytest

from mmcot_jax import mesh as meshes
from mmcot_jax.example import Example
from mmcot_jax.rollout.encode import check_lengths, encode_images


def question(name, pixels, count):
    images = [np.full((*pixels, 3), 40 * k, np.uint8) for k in range(count)]
    return Example(name, ("a", *images), "A", ("b",))


def test_a_row_longer_than_the_context_is_refused_by_name_length_and_limit(chameleon):
    renderer, side = chameleon.backbone.renderer, chameleon.backbone.vqgan.resolution
    row = renderer.supervise(question("q/7", (side, side), 1))
    assert check_lengths([row], len(row.tokens)) == [row]
    with pytest.raises(ValueError, match=rf"'q/7' is {len(row.tokens)} tokens .* context is 3"):
        check_lengths([row], 3)


def test_tokenized_rows_hold_the_ids_of_their_own_images_in_any_batch(chameleon):
    backbone, variables = chameleon.backbone, chameleon.variables
    side = backbone.vqgan.resolution
    given = [
        backbone.renderer.supervise(question(str(n), (side, side), count))
        for n, count in enumerate((2, 0, 3))
    ]
    mesh = meshes.make(data=8, fsdp=1, tensor=1)
    done = list(encode_images(backbone, variables, given, mesh, batch=8))
    assert [row.id for row in done] == ["0", "1", "2"]
    for row, before in zip(done, given, strict=True):
        assert row.images == () and row.starts == ()
        expected = before.tokens.copy()
        for image, start in zip(before.images, before.starts, strict=True):
            ids = np.asarray(jax.jit(backbone.tokenize)(variables, image[None]))[0]
            expected[start : start + len(ids)] = ids
        np.testing.assert_array_equal(row.tokens, expected)
