"""The small VQGAN's fit, piece by piece, and the fitted file that ships."""

import random
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from assets import make_chameleon_vqgan as fit
from mmcot_jax.models import chameleon
from mmcot_jax.models.chameleon.vqgan import VQGAN
from mmcot_jax.models.chameleon.weights import load_vqgan
from mmcot_jax.tasks.puzzlevqa import KINDS

SHIPPED = Path(chameleon.__file__).with_name("tiny_vqgan.safetensors")


def shipped():
    side = fit.TINY.resolution
    like = jax.eval_shape(VQGAN(fit.TINY).init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
    return load_vqgan(fit.TINY, SHIPPED, like["params"])["vqgan"]


def puzzles(count):
    rng = random.Random(7)
    return np.stack([k.draw(k.sample(rng), 64) for k in KINDS.values() for _ in range(count)])


def test_cells_are_in_raster_order():
    picture = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1).repeat(3, 3)
    assert fit.cells(picture, 2)[0, ..., ::3].tolist() == [
        [[0, 1, 4, 5], [2, 3, 6, 7]],
        [[8, 9, 12, 13], [10, 11, 14, 15]],
    ]


def test_strokes_cost_more_than_flat_areas():
    flat = jnp.full((1, 16, 16, 3), 0.5)
    stroke = flat.at[:, :, 8].set(-0.5)
    assert fit.pixel_weight(flat)[0, 8, 8, 0] == 1
    # the stroke is 5 of the 25 pixels: its mean is 0.3, its contrast 0.8 / 2
    np.testing.assert_allclose(
        fit.pixel_weight(stroke)[0, 8, 8, 0], 1 + fit.CONTRAST_WEIGHT * 0.4, rtol=1e-5
    )


def test_centres_cover_what_is_common_not_what_is_far():
    points = np.array([[0, 0], [1, 0], [4, 0], [99, 0]], np.float32)
    centres = fit.weighted_cover(points, np.array([6, 2, 3, 1], np.float32), 2)
    # 99 gains 1 * 2, 4 gains 3 * 2; the mean of the first is (6 * 0 + 2 * 1) / 8
    assert centres.tolist() == [[0.25, 0], [4, 0]]


def test_strokes_are_doubled_and_flat_colours_are_kept():
    flat = np.tile([0.5, -0.5, 0.2], 4).astype(np.float32)
    grey = np.repeat([1, -1, 1, -1], 3).astype(np.float32)
    np.testing.assert_allclose(flat @ fit.emphasise_luminance(2), flat, atol=1e-6)
    np.testing.assert_allclose(grey @ fit.emphasise_luminance(2), 2 * grey, atol=1e-6)


def test_codes_are_principal_components_of_the_cells():
    colours = np.array([[255, 0, 0], [0, 0, 255], [255, 255, 255]], np.uint8)
    pictures = colours[:, None, None].repeat(16, 1).repeat(16, 2)
    config = fit.TINY._replace(codes=3, embed_dim=2, resolution=16)
    codes = fit.define(pictures, config)
    flat = (pictures[:, :8, :8].reshape(3, -1) / 127.5 - 1) @ codes.basis - codes.mean
    apart = np.linalg.norm(flat[:, None] - codes.vectors, axis=-1)
    assert sorted(apart.argmin(1).tolist()) == [0, 1, 2]
    np.testing.assert_allclose(apart.min(1), 0, atol=1e-4)


@pytest.mark.slow
def test_a_fit_learns_flat_pictures_and_its_file_reads_back(tmp_path):
    config = fit.TINY._replace(codes=3, embed_dim=2, resolution=16)
    colours = np.array([[255, 0, 0], [0, 0, 255], [255, 255, 255]], np.uint8)
    pictures = colours[np.arange(30) % 3, None, None].repeat(16, 1).repeat(16, 2)
    params = fit.fit(pictures, config, steps=150, batch=6, rate=3e-3, seed=0)
    drawn, codes = fit.evaluate(pictures[:3], params, config)
    assert [len(set(row)) for row in codes.tolist()] == [1, 1, 1]
    assert len(np.unique(codes)) == 3
    assert np.abs(drawn.astype(int) - pictures[:3]).mean() < 20
    fit.save(str(tmp_path / "file"), params, config)
    kernel = load_file(tmp_path / "file")["encoder.conv_in.weight"]
    assert kernel.dtype == np.float16
    expected = np.float16(params["encoder"]["conv_in"]["kernel"]).transpose(3, 2, 0, 1)
    assert (kernel == expected).all()


def test_the_shipped_file_is_small_and_redraws_every_kind():
    assert SHIPPED.stat().st_size < 1_000_000
    pictures = puzzles(2)
    drawn, codes = fit.evaluate(pictures, shipped(), fit.TINY)
    assert codes.shape == (40, 64)
    error = np.abs(drawn.astype(int) - pictures).mean((1, 2, 3))
    assert error.mean() < 8
    assert error.max() < 16


def test_the_same_picture_has_the_same_codes_in_any_batch():
    pictures, params = puzzles(1)[:6], shipped()
    _, together = fit.evaluate(pictures, params, fit.TINY)
    _, alone = fit.evaluate(pictures[3:4], params, fit.TINY)
    assert (together[3] == alone[0]).all()
