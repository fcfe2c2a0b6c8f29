"""Splits of data sets that have none of their own."""

import zlib

SPLITS = ("train", "validation", "test")


def split_of(question: str) -> str:
    """Returns the split of a question by its text: 1 in 10 test, 1 in 10 validation."""
    number = zlib.crc32(question.encode("utf-8", "surrogatepass"))  # JSON may hold half a pair
    return {0: "test", 1: "validation"}.get(number % 10, "train")
