"""The few lengths that rows are padded to, so that few programs are compiled."""

from collections.abc import Sequence

import numpy as np


def choose_buckets(
    lengths: np.ndarray, limit: int, count: int = 1, multiple: int = 64
) -> tuple[int, ...]:
    """At most `count` ascending lengths, multiples of `multiple`, that share the rows evenly.

    The last one holds the longest row, or is `limit`, the model's context, where that is less.
    """
    quantiles = np.quantile(lengths, np.arange(1, count + 1) / count, method="higher")
    rounded = -(-quantiles.astype(int) // multiple) * multiple
    return tuple(sorted({min(int(size), limit) for size in rounded}))


def bucket(length: int, buckets: Sequence[int], row: str) -> int:
    """The smallest of the ascending `buckets`, in tokens, that holds `length`; `row` is its id.

    Raises:
        ValueError: no bucket is large enough.
    """
    for size in buckets:
        if length <= size:
            return size
    raise ValueError(
        f"row {row!r} is {length} tokens long, the limit is {buckets[-1]}: "
        "shorten it, use smaller images, or take a model with a longer context"
    )
