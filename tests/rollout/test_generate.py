"""What the Generator makes of the pictures in replies."""

import jax
import numpy as np
import pytest

from mmcot_jax import mesh as meshes
from mmcot_jax.example import Picture, Reply
from mmcot_jax.models.seed_llama.backbone import SeedLlama
from mmcot_jax.rollout import generate
from mmcot_jax.rollout.generate import Generator, PromptShapes
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import SampleStatic


@pytest.fixture(scope="module")
def mesh():
    return meshes.make(1, -1, 1)


def generator(backbone, mesh):
    return Generator(backbone, mesh, PromptShapes((8,), (0,), ()), SampleStatic(Sampling(), 4))


def decoded(sampler, variables, replies, numbers=None, batch=8, **more):
    numbers = np.arange(len(replies)) if numbers is None else numbers
    given = {"key": jax.random.key(0), "numbers": numbers} | more
    return sampler.decode_images(variables, replies, batch, **given)


def pictures(*ids):
    return tuple(Picture(np.array(row, np.int32)) for row in ids)


def test_whole_pictures_get_their_embedding_of_unit_norm_and_cut_ones_nothing(seed_llama, mesh):
    backbone, variables = seed_llama
    one, cut, two = pictures([13, 14, 15], [13, 14], [20, 13, 24])
    replies = [Reply(("a", one, cut)), Reply(("b",)), Reply((two,))]
    made = decoded(generator(backbone, mesh), variables, replies)
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
    (made,) = decoded(generator(backbone, mesh), variables, [Reply(pictures([4, 5, 6, 7]))])
    (picture,) = made.pictures
    assert picture.embedding is None
    expected = jax.jit(backbone.paint)(variables, picture.ids[None])[0]
    np.testing.assert_array_equal(picture.pixels, expected)


class Painter(SeedLlama):
    """A backbone whose pixels are noise of their key, and whose CLIP sees their mean."""

    def __init__(self, backbone):
        vars(self).update(vars(backbone))

    image_outputs = ("embedding", "pixels", "clip")

    def paint(self, variables, ids, keys):
        return jax.vmap(lambda key: jax.random.bits(key, (4, 4, 3), "uint8"))(keys)

    def embed_pixels(self, variables, pixels):
        assert pixels.dtype == "uint8"
        return jax.numpy.stack([pixels.mean((1, 2, 3)), pixels.std((1, 2, 3))], axis=-1)


def test_generators_of_a_backbone_share_their_programs(seed_llama, mesh):
    """Each evaluation has a generator of its own."""
    first, again = (generator(seed_llama.backbone, mesh) for _ in range(2))
    assert first._prepare is again._prepare
    assert first._image_decoders["embedding"] is again._image_decoders["embedding"]
    backbone = seed_llama.backbone
    assert generate._text_embedder(backbone) is generate._text_embedder(backbone)


def test_noise_is_a_function_of_reply_and_picture_not_of_the_batch(seed_llama, mesh):
    backbone, variables = seed_llama
    sampler = generator(Painter(backbone), mesh)
    same = pictures([13, 14, 15], [13, 14, 15])
    replies = [Reply(same), Reply(("a",)), Reply(same[:1])]
    whole = [p.pixels for r in decoded(sampler, variables, replies) for p in r.pictures]
    assert len({pixels.tobytes() for pixels in whole}) == 3
    (alone,) = decoded(sampler, variables, replies[2:], np.array([2]), batch=8)
    np.testing.assert_array_equal(alone.pictures[0].pixels, whole[2])
    (other,) = decoded(sampler, variables, replies[2:], key=jax.random.key(1))
    assert (other.pictures[0].pixels != whole[2]).any()


def test_only_the_fields_that_are_read_are_computed(seed_llama, mesh):
    backbone, variables = seed_llama
    sampler = generator(Painter(backbone), mesh)
    replies = [Reply(pictures([13, 14, 15], [13, 14]))]

    def fields(*names):
        (reply,) = decoded(sampler, variables, replies, fields=names)
        whole, cut = reply.pictures
        assert not cut.is_decoded
        return {name for name in whole._fields[1:] if getattr(whole, name) is not None}

    assert fields() == set()
    assert fields("embedding") == {"embedding"}
    assert fields("clip") == {"clip"}
    assert fields("pixels", "clip") == {"pixels", "clip"}
    (reply,) = decoded(sampler, variables, replies)
    pixels, clip = reply.pictures[0].pixels, reply.pictures[0].clip
    expected = np.array([pixels.mean(), pixels.std()]) / np.hypot(pixels.mean(), pixels.std())
    np.testing.assert_allclose(clip, expected, atol=1e-5)
