"""Rows through the picture tokenizer, once."""

import weakref

import jax
import numpy as np
import pytest

from mmcot_jax import mesh as meshes
from mmcot_jax.example import Example
from mmcot_jax.rollout.encode import check_length, encode_images


def question(name, pixels, count):
    images = [np.full((*pixels, 3), 40 * k, np.uint8) for k in range(count)]
    return Example(name, ("a", *images), "A", ("b",))


def test_a_row_longer_than_the_context_is_refused_by_name_length_and_limit(chameleon):
    renderer, side = chameleon.backbone.renderer, chameleon.backbone.vqgan.resolution
    row = renderer.supervise(question("q/7", (side, side), 1))
    assert check_length(row, len(row.tokens)) is row
    with pytest.raises(ValueError, match=rf"'q/7' is {len(row.tokens)} tokens .* context is 3"):
        check_length(row, 3)


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


def test_no_more_than_one_batch_of_rows_has_its_pixels_in_memory(chameleon):
    backbone, side = chameleon.backbone, chameleon.backbone.vqgan.resolution
    alive, most = set(), 0

    def rows():
        nonlocal most
        for n in range(40):
            row = backbone.renderer.supervise(question(str(n), (side, side), 1))
            image = row.images[0].copy()
            alive.add(n)
            weakref.finalize(image, alive.discard, n)
            most = max(most, len(alive))
            yield row._replace(images=(image,))
            del image, row

    mesh = meshes.make(data=8, fsdp=1, tensor=1)
    done = list(encode_images(backbone, chameleon.variables, rows(), mesh, batch=8))
    assert len(done) == 40 and not any(row.images for row in done)
    assert most <= 9 and not alive  # a batch, and the next one's first row
