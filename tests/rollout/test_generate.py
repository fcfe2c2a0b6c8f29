"""What the Generator makes of the pictures in replies."""

import jax
import numpy as np
import pytest

from mmcot_jax import mesh as meshes
from mmcot_jax.example import Picture, Reply
from mmcot_jax.rollout.generate import Generator, PromptShapes
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import SampleStatic


@pytest.fixture(scope="module")
def mesh():
    return meshes.make(1, -1, 1)


def generator(backbone, mesh):
    return Generator(backbone, mesh, PromptShapes((8,), (0,), ()), SampleStatic(Sampling(), 4))


def pictures(*ids):
    return tuple(Picture(np.array(row, np.int32)) for row in ids)


def test_whole_pictures_get_their_embedding_of_unit_norm_and_cut_ones_nothing(seed_llama, mesh):
    backbone, variables = seed_llama
    one, cut, two = pictures([13, 14, 15], [13, 14], [20, 13, 24])
    replies = [Reply(("a", one, cut)), Reply(("b",)), Reply((two,))]
    made = generator(backbone, mesh).decode_images(variables, replies, batch=8)
    first, short, second = [p for reply in made for p in reply.pictures]
    assert [reply.text for reply in made] == ["a<image><image>", "b", "<image>"]
    assert (short.embedding, first.pixels) == (None, None)
    embed = jax.jit(backbone.embed)
    for picture in (first, second):
        expected = np.array(embed(variables, picture.ids[None])[0])
        expected /= np.linalg.norm(expected)
        np.testing.assert_allclose(picture.embedding, expected, atol=1e-5)


def test_a_backbone_that_paints_gets_pixels_and_no_embedding(chameleon, mesh):
    backbone, variables = chameleon
    (made,) = generator(backbone, mesh).decode_images(
        variables, [Reply(pictures([4, 5, 6, 7]))], batch=8
    )
    (picture,) = made.pictures
    assert picture.embedding is None
    expected = jax.jit(backbone.paint)(variables, picture.ids[None])[0]
    np.testing.assert_array_equal(picture.pixels, expected)
