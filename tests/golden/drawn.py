"""Weights that need not be stored: each is a function of its upstream name. numpy only."""

import zlib

import numpy as np


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers seeded by the name; `RandomState`'s stream is frozen by numpy's policy."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    norm = "norm" in name.lower() or "ln_vision" in name
    # attention that looks at few keys, so that queries and pictures keep their differences
    sharp = 4.0 if ".self.query" in name or ".self.key" in name else 1.0
    scale = sharp / np.sqrt(shape[-1]) if len(shape) == 2 else 0.3
    value = random.standard_normal(shape) * scale
    return (value + (norm and name.endswith("weight"))).astype(np.float32)
