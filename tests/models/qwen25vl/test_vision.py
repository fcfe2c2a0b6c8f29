"""The vision tower against the upstream implementation, and what it must not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange
from helpers import qwen_golden

from mmcot_jax.models.qwen25vl.preprocess import preprocess, to_windows
from mmcot_jax.models.qwen25vl.vision import to_patches


def windows_of(golden, order):
    """All photos in one row without words: cells, at, image, and each cell's place in the row."""
    renderer = golden.backbone.renderer
    cell = renderer.vision.cell
    limits = dict(min_pixels=renderer.min_pixels, max_pixels=renderer.max_pixels, factor=cell)
    images = [preprocess(golden.photos[i], **limits) for i in order]
    sizes = [image.shape[0] * image.shape[1] // cell**2 for image in images]
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    return to_windows(images, starts, sum(sizes), renderer.vision.cells, cell)


def features(golden, patches, windows):
    """Features of cells in raster order, image by image."""
    tower = golden.backbone._tower()
    params = {"params": golden.variables["params"]["vision"]}
    given = (jnp.asarray(x)[None] for x in (patches, windows.at, windows.image))
    out = jax.jit(tower.apply)(params, *given)[0]
    return out.reshape(-1, out.shape[-1])[windows.source]


def test_features_are_those_of_the_committed_golden():
    golden = qwen_golden.own()
    windows = windows_of(golden, [0, 2, 1])
    patches = to_patches(jnp.asarray(windows.cells)[None], golden.backbone.vision)[0]
    ours = features(golden, patches, windows)
    np.testing.assert_allclose(ours, golden.arrays["out_features"], atol=5e-5)


@pytest.mark.reference
@pytest.mark.parametrize("name", ["untied", "tied"])
def test_features_of_photos_are_the_original_s(reference, name):
    golden = qwen_golden.shared(reference / "golden" / "qwen25vl" / name)
    windows = windows_of(golden, range(len(golden.photos)))
    patches = to_patches(jnp.asarray(windows.cells)[None], golden.backbone.vision)[0]
    ours = features(golden, patches, windows)
    np.testing.assert_allclose(ours, golden.arrays["out_vis_photos_merged"], atol=5e-5)


@pytest.mark.reference
def test_features_of_patches_whose_frames_differ_are_the_original_s(reference):
    """Frames, channels, rows and columns of a patch lie in the original's order."""
    golden = qwen_golden.shared(reference / "golden" / "qwen25vl" / "untied")
    c = golden.backbone.vision
    grids = (golden.arrays["in_rand_grid_thw"][:, 1:] // c.merge).tolist()
    blank = [np.zeros((h * c.cell, w * c.cell, 3), np.uint8) for h, w in grids]
    sizes = [h * w for h, w in grids]
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    windows = to_windows(blank, starts, sum(sizes), c.cells, c.cell)
    given = golden.arrays["in_rand_pixel_values"].reshape(sum(sizes), c.merge**2, -1)
    patches = np.zeros((windows.at[..., 0].size, *given.shape[1:]), np.float32)
    patches[windows.source] = given
    patches = rearrange(patches, "(w k) m e -> w (k m) e", k=c.cells**2)
    ours = features(golden, patches, windows)
    np.testing.assert_allclose(ours, golden.arrays["out_vis_rand_merged"], atol=5e-5)


@pytest.mark.reference
def test_the_order_of_windows_is_the_original_s(reference):
    golden = qwen_golden.shared(reference / "golden" / "qwen25vl" / "untied")
    windows = windows_of(golden, range(len(golden.photos)))
    there = windows.at[..., 0].ravel() >= 0
    raster = np.full(len(there), -1)
    raster[windows.source] = np.arange(len(windows.source))
    np.testing.assert_array_equal(raster[there], golden.arrays["out_vis_photos_window_index"])
    lengths = golden.backbone.vision.merge**2 * (windows.at[..., 0] >= 0).sum(axis=1)
    ends = np.unique(golden.arrays["out_vis_photos_cu_window_seqlens"])
    np.testing.assert_array_equal(np.concatenate([[0], np.cumsum(lengths)]), ends)
