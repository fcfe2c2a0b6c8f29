import jax.numpy as jnp
import numpy as np
import pytest
from helpers import qwen_golden
from PIL import Image

from mmcot_jax.boxes import smart_resize
from mmcot_jax.models.qwen25vl.config import SIZES, VisionConfig
from mmcot_jax.models.qwen25vl.preprocess import preprocess, to_windows
from mmcot_jax.models.qwen25vl.vision import to_patches

LIMITS = {"min_pixels": 3136, "max_pixels": 3_686_400}


def resized(h, w, variant="processor", **limits):
    return smart_resize(h, w, **(LIMITS | limits), widen=variant == "utils")


def test_sides_are_whole_cells_and_the_area_stays_between_the_limits():
    assert resized(480, 640) == (476, 644)
    assert resized(480, 640, max_pixels=100_352) == (252, 364)
    assert resized(28, 28) == (56, 56)
    assert resized(70, 98) == (56, 112)  # 2.5 and 3.5 cells: halves go to the even number
    assert resized(42, 30, min_pixels=0) == (56, 28)


def test_the_variants_differ_where_a_side_is_below_half_a_cell():
    assert resized(5, 900) == (28, 756)
    assert resized(5, 900, "utils") == (28, 896)
    assert resized(13, 300, "utils") == (28, 308)
    assert resized(15, 300, "utils") == resized(15, 300) == (28, 308)


def test_an_unknown_variant_and_a_strip_are_refused():
    with pytest.raises(ValueError, match=r"preprocess is 'hf'; choose from processor, utils"):
        preprocess(np.zeros((40, 40, 3), np.uint8), **LIMITS, variant="hf")
    with pytest.raises(ValueError, match=r"6001 x 30 pixels is more than 200 times as long"):
        preprocess(np.zeros((30, 6001, 3), np.uint8), **LIMITS)


def test_a_thin_image_is_refused_or_widened():
    thin = np.zeros((20, 300, 3), np.uint8)
    with pytest.raises(ValueError, match=r"20 x 300 pixels is thinner than 28; leave it out, or"):
        preprocess(thin, **LIMITS)
    assert preprocess(thin, **LIMITS, variant="utils").shape == (28, 308, 3)


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"float64 \[40, 40, 3\]; give uint8 \[H W\]"):
        preprocess(np.zeros((40, 40, 3)), **LIMITS)


def test_grey_is_three_channels_and_what_is_transparent_is_white():
    grey = preprocess(np.full((56, 56), 9, np.uint8), **LIMITS)
    assert grey.shape == (56, 56, 3) and (grey == 9).all()
    clear = np.zeros((56, 56, 4), np.uint8)
    assert (preprocess(clear, **LIMITS) == 255).all()
    half = Image.fromarray(np.full((56, 56, 4), 128, np.uint8))
    assert set(np.unique(preprocess(half, **LIMITS))) <= {190, 191, 192}


def pattern(h, w):
    """An image of h x w cells whose pixels say the cell's row and column."""
    row, column = np.indices((h * 28, w * 28)) // 28
    return np.stack([row, column, 0 * row], axis=-1).astype(np.uint8)


def test_windows_go_right_and_down_and_so_do_their_cells():
    # 3 x 2 cells in windows of 2 x 2: one whole, one whose lower half is outside
    windows = to_windows([pattern(3, 2)], [1], 8, 2, 28)
    assert windows.at.tolist() == [
        [[0, 0], [0, 1], [1, 0], [1, 1]],
        [[2, 0], [2, 1], [-1, -1], [-1, -1]],
    ]
    assert windows.cells.shape == (2, 4, 28, 28, 3)
    assert windows.cells[..., 0, 0, :2].tolist()[0] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert windows.cells[1, :2, 27, 27, :2].tolist() == [[2, 0], [2, 1]]
    assert not windows.cells[1, 2:].any()
    assert windows.image.tolist() == [0, 0]
    # tokens: a word, six placeholders in reading order, a word
    assert windows.source.tolist() == [-1, 0, 1, 2, 3, 4, 5, -1]


def test_the_next_images_windows_follow_and_cells_find_their_token():
    windows = to_windows([pattern(1, 3), pattern(2, 1)], [0, 4], 6, 2, 28)
    assert windows.image.tolist() == [0, 0, 1]
    # the third cell of the first image is the first of its second window
    assert windows.source.tolist() == [0, 1, 4, -1, 8, 10]
    flat = windows.cells[..., 0, 0, :2].reshape(-1, 2)
    assert flat[windows.source[:3]].tolist() == [[0, 0], [0, 1], [0, 2]]
    assert flat[windows.source[4:]].tolist() == [[0, 0], [1, 0]]
    assert to_windows([], [], 4, 2, 28) is None


def patches_of(image, c):
    """Normalised patches in the processor's order: cells in raster order, patch by patch."""
    cells = (image.shape[0] // c.cell) * (image.shape[1] // c.cell)
    windows = to_windows([image], [0], cells, c.cells, c.cell)
    patches = np.asarray(to_patches(jnp.asarray(windows.cells)[None], c))
    patches = patches.reshape(-1, c.merge**2, patches.shape[-1])[windows.source]
    return patches.reshape(cells * c.merge**2, -1)


def test_patches_are_those_of_the_committed_golden():
    golden = qwen_golden.own()
    images = [preprocess(photo, **LIMITS) for photo in golden.photos]
    grids = [[1, image.shape[0] // 14, image.shape[1] // 14] for image in images]
    assert grids == golden.arrays["out_grids"].tolist()
    want = golden.arrays["out_pixel_values"]
    np.testing.assert_allclose(patches_of(images[1], golden.backbone.vision), want, atol=1e-5)


@pytest.mark.reference
def test_the_processors_outputs_are_the_original_s(reference):
    golden = qwen_golden.shared(reference / "golden" / "qwen25vl" / "untied")
    io, c, r = golden.arrays, golden.backbone.vision, golden.backbone.renderer
    limits = {"min_pixels": r.min_pixels, "max_pixels": r.max_pixels, "factor": c.cell}
    for i, photo in enumerate(golden.photos):
        image = preprocess(photo, **limits)
        grid = [[1, image.shape[0] // c.patch, image.shape[1] // c.patch]]
        assert grid == io[f"out_proc_photo{i}_grid_thw"].tolist()
        assert grid[0][1] * grid[0][2] // c.merge**2 == io[f"out_proc_photo{i}_num_image_tokens"]
        want = io[f"out_proc_photo{i}_pixel_values"]
        np.testing.assert_allclose(patches_of(image, c), want, atol=1e-5)
    for h, w, factor, least, most, *want in io["out_smart_resize_table"].tolist():
        assert smart_resize(
            h, w, min_pixels=least, max_pixels=most, multiple=factor, widen=False
        ) == tuple(want)


def test_sizes_that_do_not_fit_are_refused():
    good = VisionConfig(**SIZES["7b"]["vision"]).check()
    assert (good.cell, good.cells) == (28, 4)
    with pytest.raises(ValueError, match=r"vision.window is 100 px and a cell is 28; give a mult"):
        good._replace(window=100).check()
    with pytest.raises(ValueError, match=r"width 1280 over 3 heads is no multiple of 4 channels"):
        good._replace(heads=3).check()
    with pytest.raises(ValueError, match=r"vision.full is \(7, 32\); the layers are 0 to 31"):
        good._replace(full=(7, 32)).check()
