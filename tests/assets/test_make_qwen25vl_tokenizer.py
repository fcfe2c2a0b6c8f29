"""The tokenizer of `tiny`: whole numbers and words, marks, and any text byte by byte."""

import pathlib

import numpy as np
import pytest
from tokenizers import Tokenizer

from assets.make_qwen25vl_tokenizer import train, words
from mmcot_jax.boxes import Space
from mmcot_jax.models import qwen25vl
from mmcot_jax.models.qwen25vl.config import VisionConfig
from mmcot_jax.models.qwen25vl.preprocess import preprocess
from mmcot_jax.models.qwen25vl.render import MARKS, Qwen25VLRenderer
from mmcot_jax.tasks import shapes

PACKAGED = pathlib.Path(qwen25vl.__file__).parent / "tiny_tokenizer.json"


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(PACKAGED))


def pieces(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer.encode(text, add_special_tokens=False).ids]


def test_a_note_is_a_token_a_number_and_an_option_one_with_its_letter(tokenizer):
    chain = "<think>There is [0,43,112,61 red circle].</think> <answer>C</answer>"
    assert pieces(tokenizer, chain) == [
        "<think>", "There", " is", " [", "0", ",", "43", ",", "112", ",", "61", " red", " circle",
        "]", ".", "</think>", " <answer>", "C", "</answer>",
    ]  # fmt: skip
    assert pieces(tokenizer, "Options: (A) 2 (B) red.") == [
        "Options",
        ":",
        " (A) 2",
        " (B) red",
        ".",
    ]


@pytest.mark.parametrize("text", ["naïve <|im_end|>\t\n  x", "[12.5, -3 ]", "ABC 1234567 (E) 漢"])
def test_any_text_comes_back(tokenizer, text):
    tokenizer.encode_special_tokens = True
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert not set(ids) & {tokenizer.token_to_id(mark) for mark in MARKS.values()}


def test_the_packaged_file_is_what_the_script_makes(tokenizer):
    assert train(words()).get_vocab() == tokenizer.get_vocab()


def test_boxes_are_stated_in_the_pixels_the_renderer_makes(tokenizer):
    vision = VisionConfig(width=16, depth=1, heads=4, mlp=16, full=(0,), window=32, patch=4)
    renderer = Qwen25VLRenderer(tokenizer, vision, 64, 60 * 60, 256)
    for height, width in ((64, 64), (100, 400), (31, 57), (20, 20), (500, 333)):
        image = preprocess(
            np.zeros((height, width, 3), np.uint8),
            min_pixels=64,
            max_pixels=60 * 60,
            factor=vision.cell,
        )
        seen = renderer.sight.space(Space("original", width, height))
        assert (seen.height, seen.width) == image.shape[:2]
    (example,) = shapes.load(["color"], count=1, size=64, sight=renderer.sight)
    assert example.extra["space"] == Space("resized", 56, 56)
    assert renderer.supervise(example).tokens.tolist().count(renderer.ids["pad"]) == 49
