"""Laws of the tiny SEED-LLaMA: its forward pass, its pictures, and chains that hold some."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax.example import Example, Picture
from mmcot_jax.models.seed_llama.render import SeedRenderer
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import row_keys, sample
from mmcot_jax.train.logps import score_rollout
from mmcot_jax.types import Backbone, Batch, Pixels

T, EOS, FIRST, BOI, EOI, K = 9, 2, 13, 25, 26, 3


def batch(tokens, valid=None):
    valid = np.ones(np.shape(tokens), bool) if valid is None else np.asarray(valid, bool)
    positions = np.maximum(np.cumsum(valid, axis=1) - 1, 0)[None].astype(np.int32)
    whole = Batch(np.asarray(tokens, np.int32), positions, valid, np.zeros_like(valid))
    return jax.tree.map(jnp.asarray, whole)


@pytest.fixture(scope="module")
def rows():
    """Two rows, the second with three pads on the left."""
    tokens = np.random.default_rng(0).integers(3, 27, (2, T))
    return batch(tokens, np.arange(T) >= np.array([[0], [3]]))


@partial(jax.jit, static_argnums=0)
def run(backbone, variables, batch):
    return backbone.unembed(variables, backbone(variables, batch)[0])


def test_it_is_a_backbone(seed_llama):
    assert isinstance(seed_llama.backbone, Backbone)
    assert hash(seed_llama.backbone) != hash(seed_llama.variant())


def test_a_prefill_and_steps_are_the_full_forward(seed_llama, rows):
    backbone, variables = seed_llama

    @jax.jit
    def pieces(variables, rows):
        cache, start, out = backbone.init_cache(2, T + 2), 0, []
        for length in (5, 3, 1):
            cut = slice(start, start + length)
            piece = Batch(
                rows.tokens[:, cut], rows.positions[..., cut], rows.valid[:, cut],
                rows.loss[:, cut],
            )  # fmt: skip
            hidden, cache = backbone(variables, piece, cache)
            out.append(backbone.unembed(variables, hidden))
            start += length
        return jnp.concatenate(out, 1), cache

    logits, cache = pieces(variables, rows)
    full = run(backbone, variables, rows)
    np.testing.assert_allclose(logits[rows.valid], full[rows.valid], atol=5e-5)
    assert cache.valid.sum(axis=1).tolist() == [T, T - 3]


def test_padding_on_either_side_changes_nothing(seed_llama):
    backbone, variables = seed_llama
    tokens = [1, 3, 25, 18, 26]
    alone = run(backbone, variables, batch([tokens, tokens]))[0]
    both = batch([[0, 0, *tokens], [*tokens, 0, 0]], [[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]])
    left, right = run(backbone, variables, both)
    np.testing.assert_allclose(left[2:], alone, atol=2e-5)
    np.testing.assert_allclose(right[:5], alone, atol=2e-5)
    # the original attended to its padding: what stands there must not be seen
    other = both._replace(tokens=both.tokens.at[0, :2].set(9))
    np.testing.assert_array_equal(run(backbone, variables, other)[0, 2:], left[2:])


def test_adapters_left_out_are_the_base(seed_llama, rows):
    base = {"params": seed_llama.variables["params"]}
    off = run(seed_llama.backbone, base, rows)
    np.testing.assert_array_equal(off, run(seed_llama.variant(lora=None), base, rows))
    assert float(jnp.abs(run(*seed_llama, rows) - off).max()) > 0.1


def test_new_weights_are_frozen_ones_and_adapters_apart(seed_llama):
    made = jax.eval_shape(seed_llama.backbone.init, jax.random.key(0))
    assert {name: set(tree) for name, tree in made.items()} == {
        "params": {"decoder", "seed"},
        "lora": {"decoder"},
    }
    text = dataclasses.replace(seed_llama.backbone, seed=None)
    assert set(jax.eval_shape(text.init, jax.random.key(0))["params"]) == {"decoder"}


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
    with pytest.raises(ValueError, match="have no pixels: those are painted by unCLIP diffusion"):
        backbone.paint(variables, jnp.asarray(ids))


def test_without_a_picture_tokenizer_it_says_what_is_missing(seed_llama, images):
    renderer = SeedRenderer(seed_llama.backbone.renderer.tokenizer)
    text = dataclasses.replace(seed_llama.backbone, seed=None, renderer=renderer)
    assert text.image_outputs == ()
    assert text.grammar.image_len == 0
    assert not text.grammar.is_image.any()
    with pytest.raises(ValueError, match=r"has no pictures \(model.seed is None\)"):
        text.tokenize(seed_llama.variables, images)


def test_its_grammar_knows_codes_words_and_tags(seed_llama):
    g = seed_llama.backbone.grammar
    assert np.flatnonzero(g.is_image).tolist() == list(range(FIRST, BOI))
    assert np.flatnonzero(g.is_text).tolist() == list(range(3, FIRST))
    assert (g.boi, g.eoi, g.eos, g.image_len) == (BOI, EOI, (EOS,), K)
    assert dataclasses.replace(seed_llama.backbone, draws=False).grammar.image_len == 0


# --- chains ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rollout(seed_llama):
    backbone, variables = seed_llama
    tokens = np.random.default_rng(0).integers(3, FIRST, (8, T)).astype(np.int32)
    tokens[::2, 3:8] = [BOI, FIRST + 2, FIRST + 7, FIRST, EOI]
    given = batch(tokens, np.arange(T) >= np.arange(8)[:, None] % 4)
    return sample(
        backbone, variables, backbone.grammar, given,
        row_keys(jax.random.key(0), jnp.arange(32)),
        sampling=Sampling(temperature=0.7, top_p=0.9), length=20, num_generations=4,
    )  # fmt: skip


def test_chains_draw_whole_pictures(seed_llama, rollout):
    read = seed_llama.backbone.renderer.read
    replies = [
        read(np.asarray(tokens[valid]))
        for tokens, valid in zip(rollout.tokens, rollout.valid, strict=True)
    ]
    drawn = [picture.ids for reply in replies for picture in reply.pictures]
    assert len(drawn) >= 8
    assert all(len(ids) == K and (ids >= FIRST).all() and (ids < BOI).all() for ids in drawn)


def test_the_trainers_logps_are_the_samplers_pictures_and_all(seed_llama, rollout):
    backbone, variables = seed_llama

    @jax.jit
    def scored(variables, rollout):
        law = Sampling(temperature=0.7, top_p=0.9)
        return score_rollout(backbone, variables, backbone.grammar, rollout, law, chunk=5).logps

    ratio = jnp.where(rollout.valid, scored(variables, rollout) - rollout.logps, 0)
    assert bool((rollout.state > 1).any())
    assert float(jnp.abs(ratio).max()) < 1e-5


def test_a_supervised_chain_is_what_it_would_write(seed_llama):
    renderer = seed_llama.backbone.renderer
    drawn = Picture(np.array([FIRST, FIRST + 1, FIRST + 2], np.int32))
    row = renderer.supervise(Example("a", ("ab",), "c", ("d", drawn, "c")))
    assert row.tokens.tolist() == [1, 3, 4, 6, BOI, *drawn.ids, EOI, 5, EOS]
    assert row.loss.tolist() == [False] * 3 + [True] * 8
