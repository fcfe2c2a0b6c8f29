"""The facts of a scene as codes and as a vector, which a picture tokenizer can learn.

Axes: K codes of a picture, F channels of an embedding. Host only, no jax.
"""

import zlib
from functools import cache

import numpy as np

from mmcot_jax.tasks.shapes.world import CELLS, MAX_THINGS, NAMES, Scene, describe

NOTHING = len(NAMES) + len(CELLS)
"""The code of an absent thing."""
CODES = NOTHING + 1
QUERIES = 2 * MAX_THINGS
CHANNELS = 64


def codes(scene: Scene) -> np.ndarray:
    """Returns int32 [K]: name and cell of each thing in reading order, then `NOTHING`."""
    facts = [(NAMES.index((t.color, t.shape)), len(NAMES) + t.cell) for t in scene]
    flat = [code for fact in facts for code in fact]
    return np.array(flat + [NOTHING] * (QUERIES - len(flat)), np.int32)


def embed_text(text: str) -> np.ndarray:
    """Returns float32 [F], unit norm: the sum of the vectors of its sentences.

    It is to this world what CLIP's text encoder is to photographs: a reward's `embed_text`.
    """
    sentences = (f"{sentence}." for sentence in text.split(".")[:-1] if sentence)
    total = sum(map(_vector, sentences), np.zeros(CHANNELS, np.float32))
    return total / max(float(np.linalg.norm(total)), 1e-6)


@cache
def _vector(sentence: str) -> np.ndarray:
    random = np.random.RandomState(zlib.crc32(sentence.strip().encode("utf-8", "replace")))
    return (random.standard_normal(CHANNELS) / np.sqrt(CHANNELS)).astype(np.float32)


def embedding(scene: Scene) -> np.ndarray:
    """Returns the embedding of the scene's description, float32 [F], unit norm."""
    return embed_text(describe(scene))
