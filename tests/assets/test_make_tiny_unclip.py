"""What the fit of `tiny`'s unCLIP made, and what `t2m:tiny` paints with it."""

import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assets import make_tiny_unclip as fit
from configs import t2m
from mmcot_jax import hf, safetensors_io
from mmcot_jax.models import seed_llama
from mmcot_jax.models.unclip import config, paint, weights
from mmcot_jax.tasks import shapes
from mmcot_jax.tasks.shapes import facts, world

FILE = pathlib.Path(seed_llama.__file__).parent / "tiny_unclip.safetensors"


@pytest.fixture(scope="module")
def params():
    like = jax.eval_shape(partial(paint.init, fit.TINY), jax.random.key(0))
    return weights.load(fit.TINY, FILE, like)


def test_the_file_is_small_and_is_read_whole(params):
    assert FILE.stat().st_size < 3_000_000
    stored = safetensors_io.read(FILE)
    assert {x.dtype for x in stored.values()} == {np.dtype(np.float16)}
    assert len(stored) == len(hf.flatten(params))
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(params))


def test_the_presets_sizes_are_those_of_the_fit():
    assert config.from_dict(t2m.get_config("tiny").model.unclip.to_dict()) == fit.TINY


def test_painted_scenes_show_their_things_and_are_nearest_to_their_own_picture(params):
    given = fit.embedded(16, "validation")
    # any ids give pixels: a picture of wrong ids costs its reward, not the run
    wrong = np.random.default_rng(0).integers(0, facts.CODES, (4, facts.QUERIES))
    embeddings = np.concatenate([given.embeddings, fit.embed(wrong)])
    pixels = fit.painted(params, given._replace(embeddings=embeddings))
    assert pixels.shape == (20, 48, 48, 3) and pixels.dtype == np.uint8
    painted = pixels[:16]
    found = fit.evaluate(painted, given.pictures)
    assert found["things"] > 0.6
    assert found["nearest"] > 0.6
    # another scene's things are not there
    other = fit.evaluate(np.roll(painted, 1, axis=0), given.pictures)
    assert other["things"] < 0.1 and other["nearest"] < 0.2


def test_the_facts_of_a_scene_are_its_colours_and_shapes_by_cell():
    given = fit.embedded(20, "validation")
    for there, scene in zip(
        fit.facts_of(given.codes).reshape(20, 9, 7), shapes.described(20, split="validation"),
        strict=True,
    ):  # fmt: skip
        expected = np.zeros((9, 7))
        for thing in scene.scene:
            expected[thing.cell, list(world.COLORS).index(thing.color)] = 1
            expected[thing.cell, 4 + world.SHAPES.index(thing.shape)] = 1
        np.testing.assert_array_equal(there, expected)


def test_random_kernels_keep_the_variance_and_the_rest_starts_as_layers_do():
    shapes = {
        "a": {"kernel": jax.ShapeDtypeStruct((3, 3, 64, 32), jnp.float32)},
        "b": {"scale": jax.ShapeDtypeStruct((4,), jnp.float32)},
        "c": {"bias": jax.ShapeDtypeStruct((4,), jnp.float32)},
    }
    made = fit.random(shapes, seed=3)
    assert float(made["a"]["kernel"].var()) == pytest.approx(1 / (9 * 64), rel=0.05)
    assert made["b"]["scale"].tolist() == [1.0] * 4 and made["c"]["bias"].tolist() == [0.0] * 4
    again = fit.random(shapes, seed=3)["a"]["kernel"]
    np.testing.assert_array_equal(made["a"]["kernel"], again)
