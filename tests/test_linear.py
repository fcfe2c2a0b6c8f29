"""No text is slow to read: every reader of `helpers/readers.py` takes time linear in its text."""

import gc
import pathlib
import random
import time

import numpy as np
import pytest
from helpers import readers
from tokenizers import Tokenizer

from mmcot_jax import models, score
from mmcot_jax.example import Renderer
from mmcot_jax.models.chameleon.render import ChameleonRenderer
from mmcot_jax.models.qwen25vl.config import VisionConfig
from mmcot_jax.models.qwen25vl.render import Qwen25VLRenderer
from mmcot_jax.models.seed_llama.render import SeedRenderer, with_pictures

READERS = readers.readers()
SLOWER = 16
"""Times longer that a character may take than in the shortest text, on the same machine. A second
pass per tag is soon above: texts are up to 256 times as long."""
MOST = 1e-4
"""CPU seconds that a character may take anywhere; 1e-6 is usual."""


def seconds(read, text) -> float:
    """CPU seconds of this thread: other processes do not count, nor does collecting garbage."""
    gc.disable()
    try:
        begin = time.thread_time()
        read(text)
        return time.thread_time() - begin
    finally:
        gc.enable()


def check(name, read, make, lengths) -> float:
    """Reads ever longer texts, up to the first that takes too long; returns the last time."""
    shortest = make(lengths[0])
    read(shortest)  # the first imports what it needs
    pace = min(seconds(read, shortest) for _ in range(3)) / len(shortest)
    for length in lengths[1:]:
        text = make(length)
        limit = 0.02 + min(MOST, SLOWER * pace) * len(text)
        taken = seconds(read, text)
        for _ in range(3):  # a busy machine slows one reading, not four
            if taken > limit:
                taken = min(taken, seconds(read, text))
        assert taken < limit, f"{name}: {taken:.2f} s for {len(text)} characters {text[:60]!r}..."
    return taken


@pytest.mark.parametrize("name", READERS)
def test_a_text_of_16_thousand_characters_is_read_at_once(name):
    sample = random.Random(name).sample(readers.texts(400, seed=0), 25)
    for make in (*sample, *readers.FAULTS):
        check(name, READERS[name], make, (2**9, 2**11, 2**14))


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_text_of_a_million_characters_is_read_in_seconds(name):
    read = READERS[name]
    texts = [*readers.texts(150, seed=1), *readers.FAULTS]
    cost = {make: check(name, read, make, (2**9, 2**12)) for make in texts}
    check(name, read, max(texts, key=cost.get), (2**12, 2**14, 2**16, 2**18, 2**20))


@pytest.mark.parametrize("metric", score.METRICS)
@pytest.mark.parametrize("parser", ["strict", "reference"])
def test_a_stored_reply_is_scored_at_once(metric, parser, tmp_path):
    path = tmp_path / "replies.jsonl"

    def read(text: str) -> None:
        path.write_text(readers.stored(text), "utf-8")
        score.METRICS[metric](path, parser)

    for make in readers.FAULTS:
        check(metric, read, make, (2**9, 2**11, 2**14))


def renderers() -> dict[str, Renderer]:
    """Returns a renderer of each backbone, with the tokenizers that the package ships."""

    def shipped(name: str) -> Tokenizer:
        folder = pathlib.Path(models.__path__[0]) / name
        return Tokenizer.from_file(str(folder / "tiny_tokenizer.json"))

    vision = VisionConfig(width=16, depth=1, heads=2, mlp=8, full=(), window=56)
    return {
        "chameleon": ChameleonRenderer(shipped("chameleon"), 12, image_len=4, resolution=4),
        "qwen25vl": Qwen25VLRenderer(shipped("qwen25vl"), vision, 784, 50176, context=99),
        "seed_llama": SeedRenderer(with_pictures(shipped("seed_llama"), 12), 12, 4, resolution=4),
    }


@pytest.mark.parametrize("name", models.names())
def test_ids_are_read_at_once(name):
    renderer = renderers()[name]
    rng = np.random.default_rng(0)
    size = renderer.tokenizer.get_vocab_size()
    marks = [id for id in range(size) if id not in renderer.eos_ids]
    for few in (*rng.choice(marks, (8, 1)), *rng.choice(marks, (8, 3)), marks):
        for length in (2**9, 2**13):
            taken = seconds(renderer.read, np.resize(np.array(few, np.int32), length))
            assert taken < 0.02 + MOST * length, (name, few, length)
