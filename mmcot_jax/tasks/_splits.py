"""Splits of data sets that have none of their own."""

import zlib

SPLITS = ("train", "validation", "test")


def split_of(text: str) -> str:
    """Returns the split of a question by its text: 1 in 10 test, 1 in 10 validation."""
    return {0: "test", 1: "validation"}.get(zlib.crc32(text.encode()) % 10, "train")
