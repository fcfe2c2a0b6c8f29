"""What a scene says, as codes and as a vector: what a picture tokenizer of this world can learn.

Axes: K codes of a picture, F channels of an embedding. Host only, no jax.
"""

import re
import zlib
from functools import cache

import numpy as np

from mmcot_jax.tasks.shapes.world import CELLS, MOST, NAMES, Scene, describe

NOTHING = len(NAMES) + len(CELLS)
"""The code of a thing that is not there."""
CODES = NOTHING + 1
QUERIES = 2 * MOST
CHANNELS = 64


def codes(scene: Scene) -> np.ndarray:
    """int32 [K]: of each thing in reading order what it is, then where; then nothing."""
    facts = [(NAMES.index((t.color, t.shape)), len(NAMES) + t.cell) for t in scene]
    flat = [code for fact in facts for code in fact]
    return np.array(flat + [NOTHING] * (QUERIES - len(flat)), np.int32)


def embed_text(text: str) -> np.ndarray:
    """float32 [F], unit norm: the sum of its sentences' vectors, whatever their order.

    What CLIP's text encoder is to photographs; a reward's `embed_text` for this world.
    """
    total = sum((_vector(s) for s in re.findall(r"[^.]+\.", text)), np.zeros(CHANNELS, np.float32))
    return total / max(float(np.linalg.norm(total)), 1e-6)


@cache
def _vector(sentence: str) -> np.ndarray:
    random = np.random.RandomState(zlib.crc32(sentence.strip().encode()))
    return (random.standard_normal(CHANNELS) / np.sqrt(CHANNELS)).astype(np.float32)


def embedding(scene: Scene) -> np.ndarray:
    """float32 [F], unit norm: that of the scene's description."""
    return embed_text(describe(scene))
