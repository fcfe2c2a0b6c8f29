"""The tiny Chameleon's pictures and grammar, and adapters that drop their inputs."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax.types import Batch, Pixels

T = 9


def batch(tokens, valid=None):
    valid = np.ones(np.shape(tokens), bool) if valid is None else np.asarray(valid, bool)
    positions = np.maximum(np.cumsum(valid, axis=1) - 1, 0)[None].astype(np.int32)
    whole = Batch(np.asarray(tokens, np.int32), positions, valid, np.zeros_like(valid))
    return jax.tree.map(jnp.asarray, whole)


@pytest.fixture(scope="module")
def rows():
    """Two rows, the second with three pads on the left."""
    tokens = np.random.default_rng(0).integers(2, 28, (2, T))
    return batch(tokens, np.arange(T) >= np.array([[0], [3]]))


def run(backbone, variables, batch, dropout=None):
    return backbone.unembed(variables, backbone(variables, batch, dropout=dropout)[0])


def test_adapters_drop_only_with_a_key(chameleon, rows):
    lora = chameleon.backbone.c.lora._replace(dropout=0.5)
    dropping = partial(jax.jit(run, static_argnums=0), chameleon.variant(lora=lora))
    forward = partial(jax.jit(run, static_argnums=0), chameleon.backbone)
    variables, base = chameleon.variables, {"params": chameleon.variables["params"]}
    without = dropping(variables, rows)
    np.testing.assert_array_equal(without, forward(variables, rows))
    one, two = (dropping(variables, rows, jax.random.key(i)) for i in (0, 1))
    assert float(jnp.abs(one - without).max()) > 1e-2
    assert float(jnp.abs(one - two).max()) > 1e-2
    np.testing.assert_array_equal(dropping(variables, rows, jax.random.key(0)), one)
    np.testing.assert_allclose(
        dropping(base, rows, jax.random.key(0)), forward(base, rows), atol=1e-6
    )


# --- pictures --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def ids(chameleon, images):
    backbone, variables = chameleon
    return np.asarray(jax.jit(backbone.tokenize)(variables, jnp.asarray(images)))


def test_a_picture_is_image_len_ids_among_the_codes(ids):
    assert (ids.shape, ids.dtype) == ((3, 4), np.int32)
    assert ids.min() >= 4
    assert ids.max() <= 15
    assert len(np.unique(ids)) > 1


def test_placeholders_become_ids_where_their_pictures_begin(chameleon, images, ids):
    # [pad BOI i i i i EOI BOI i i i i EOI] and [a b BOI i i i i EOI b b b b b], one slot unused
    first = [1, 17, *[4] * 4, 16, 17, *[4] * 4, 16]
    second = [18, 19, 17, *[4] * 4, 16, *[19] * 5]
    valid = np.ones((2, 13), bool)
    valid[0, 0] = False
    whole = np.zeros((2, 2, 4, 4, 3), np.uint8)
    whole[0], whole[1, 0] = images[:2], images[2]
    given = batch([first, second], valid)._replace(
        pixels=Pixels(jnp.asarray(whole), jnp.array([[2, 8], [3, -1]]))
    )
    out = jax.jit(chameleon.backbone.prepare)(chameleon.variables, given)
    assert out.pixels is None
    assert out.tokens[0].tolist() == [1, 17, *ids[0], 16, 17, *ids[1], 16]
    assert out.tokens[1].tolist() == [18, 19, 17, *ids[2], 16, *[19] * 5]
    np.testing.assert_array_equal(out.valid, valid)


def test_rows_without_pictures_are_prepared_already(chameleon, rows):
    assert chameleon.backbone.prepare(chameleon.variables, rows) is rows


def test_pictures_are_painted_at_their_size_and_foreign_ids_do_not_raise(chameleon, ids):
    backbone, variables = chameleon
    paint = jax.jit(backbone.paint)
    pixels = paint(variables, jnp.asarray(ids), jax.random.key(0))
    assert (pixels.shape, pixels.dtype) == ((3, 4, 4, 3), jnp.uint8)
    assert backbone.tokenize(variables, pixels).shape == (3, 4)
    foreign = paint(variables, jnp.array([[0, 99, 4, 5]]), jax.random.key(0))
    nearest = paint(variables, jnp.array([[4, 15, 4, 5]]), jax.random.key(0))
    np.testing.assert_array_equal(foreign, nearest)


def test_its_grammar_knows_codes_words_and_marks(chameleon):
    g = chameleon.backbone.grammar
    assert np.flatnonzero(g.is_image).tolist() == list(range(4, 16))
    assert np.flatnonzero(g.is_text).tolist() == list(range(18, 28))
    assert (g.eoi, g.boi, g.eos, g.image_len) == (16, 17, (2,), 4)


def test_its_textual_twin_may_not_draw(chameleon):
    assert dataclasses.replace(chameleon.backbone, draws=False).grammar.image_len == 0
