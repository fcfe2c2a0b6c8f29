"""The tiny SEED-LLaMA's pictures, grammar and rows."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax.example import Example, Picture
from mmcot_jax.models.seed_llama.render import SeedRenderer
from mmcot_jax.types import Batch, Pixels

EOS, FIRST, BOI, EOI, K = 2, 13, 25, 26, 3


def batch(tokens, valid=None):
    valid = np.ones(np.shape(tokens), bool) if valid is None else np.asarray(valid, bool)
    positions = np.maximum(np.cumsum(valid, axis=1) - 1, 0)[None].astype(np.int32)
    whole = Batch(np.asarray(tokens, np.int32), positions, valid, np.zeros_like(valid))
    return jax.tree.map(jnp.asarray, whole)


# --- pictures --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(1).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def ids(seed_llama, images):
    return np.asarray(jax.jit(seed_llama.backbone.tokenize)(seed_llama.variables, images))


def test_a_picture_is_as_many_ids_as_there_are_queries(ids):
    assert (ids.shape, ids.dtype) == ((3, K), np.int32)
    assert ids.min() >= FIRST
    assert ids.max() < BOI


def test_placeholders_become_ids_where_their_pictures_begin(seed_llama, images, ids):
    # [pad <img> i i i </img> <img> i i i </img>] and [a b <img> i i i </img> b b b b]
    first = [0, BOI, *[FIRST] * K, EOI, BOI, *[FIRST] * K, EOI]
    second = [3, 4, BOI, *[FIRST] * K, EOI, *[4] * 4]
    valid = np.ones((2, 11), bool)
    valid[0, 0] = False
    pixels = jnp.zeros((2, 2, 4, 4, 3), jnp.uint8).at[0].set(images[:2]).at[1, 0].set(images[2])
    given = batch([first, second], valid)
    given = given._replace(pixels=Pixels(pixels, jnp.array([[2, 7], [3, -1]])))
    out = jax.jit(seed_llama.backbone.prepare)(seed_llama.variables, given)
    assert out.pixels is None
    assert out.tokens[0].tolist() == [0, BOI, *ids[0], EOI, BOI, *ids[1], EOI]
    assert out.tokens[1].tolist() == [3, 4, BOI, *ids[2], EOI, 4, 4, 4, 4]
    assert seed_llama.backbone.prepare(seed_llama.variables, out) is out


def test_drawn_pictures_have_an_embedding_and_no_pixels(seed_llama, ids):
    backbone, variables = seed_llama
    foreign = np.array([[0, 99, 14], [FIRST, BOI - 1, 14]])
    made = jax.jit(backbone.embed)(variables, jnp.concatenate([ids, foreign]))
    assert (made.shape, made.dtype, backbone.image_outputs) == ((5, 5), jnp.float32, ("embedding",))
    np.testing.assert_array_equal(made[3], made[4])
    with pytest.raises(ValueError, match="SeedLlama makes only their embedding; do not "):
        backbone.paint(variables, jnp.asarray(ids))


def test_without_a_picture_tokenizer_it_says_what_is_missing(seed_llama, images):
    renderer = SeedRenderer(seed_llama.backbone.renderer.tokenizer)
    text = dataclasses.replace(seed_llama.backbone, seed=None, renderer=renderer)
    assert text.image_outputs == ()
    assert text.grammar.image_len == 0
    assert not text.grammar.is_image.any()
    with pytest.raises(ValueError, match=r"has no images \(model.seed is None\)"):
        text.tokenize(seed_llama.variables, images)


def test_its_grammar_knows_codes_words_and_tags(seed_llama):
    g = seed_llama.backbone.grammar
    assert np.flatnonzero(g.is_image).tolist() == list(range(FIRST, BOI))
    assert np.flatnonzero(g.is_text).tolist() == list(range(3, FIRST))
    assert (g.boi, g.eoi, g.eos, g.image_len) == (BOI, EOI, (EOS,), K)
    assert dataclasses.replace(seed_llama.backbone, draws=False).grammar.image_len == 0


def test_a_supervised_chain_is_what_it_would_write(seed_llama):
    renderer = seed_llama.backbone.renderer
    drawn = Picture(np.array([FIRST, FIRST + 1, FIRST + 2], np.int32))
    row = renderer.supervise(Example("a", ("ab",), "c", ("d", drawn, "c")))
    assert row.tokens.tolist() == [1, 3, 4, 6, BOI, *drawn.ids, EOI, 5, EOS]
    assert row.loss.tolist() == [False] * 3 + [True] * 8
