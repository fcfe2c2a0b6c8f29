"""Pictures of questions: once by content, small, and in the prompt's order."""

import numpy as np
from PIL import Image

from mmcot_jax import prompt_pictures
from mmcot_jax.example import Example, Picture

FLAT = np.full((40, 60, 3), 200, np.uint8)
NOISE = np.random.default_rng(0).integers(0, 255, (300, 1200, 3), np.uint8)


def example(*prompt) -> Example:
    return Example("a", prompt, "b")


def test_a_picture_is_saved_once_and_named_in_the_order_of_the_prompt(tmp_path):
    examples = [example(FLAT, "which", NOISE), example("words"), example("and", NOISE)]
    first, none, last = prompt_pictures.save(tmp_path, examples)
    assert len(first) == 2 and none == () and last == first[1:]
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/*")) == sorted(first)
    times = [(tmp_path / name).stat().st_mtime_ns for name in first]
    assert prompt_pictures.save(tmp_path, examples) == [first, none, last]
    assert [(tmp_path / name).stat().st_mtime_ns for name in first] == times


def test_flat_pictures_keep_their_pixels_and_large_ones_their_shape(tmp_path):
    ((flat, noise),) = prompt_pictures.save(tmp_path, [example(FLAT, NOISE)])
    assert flat.endswith(".png") and noise.endswith(".jpg")
    assert (np.asarray(Image.open(tmp_path / flat)) == FLAT).all()
    assert Image.open(tmp_path / noise).size == (512, 128)


def test_pictures_without_pixels_are_left_out_and_shapes_are_told_apart(tmp_path):
    ids, turned = Picture(np.arange(4)), FLAT.reshape(60, 40, 3)
    shown = Picture(np.arange(4), pixels=FLAT)
    given = [example(ids, np.zeros((0, 0, 3), np.uint8)), example(shown), example(turned)]
    none, one, other = prompt_pictures.save(tmp_path, given)
    assert none == () and len(one) == len(other) == 1 and one != other
