"""Images of supervised rows as ids: each goes through the device once, not once an epoch.

Axes: N images, K ids of a picture, h w pixels.
"""

import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmcot_jax import mesh as meshes
from mmcot_jax.errors import TooLong
from mmcot_jax.example import Example, Row
from mmcot_jax.types import Backbone, Variables


def check_length(row: Row, context: int) -> Row:
    """Returns the row.

    Raises:
        TooLong: it is longer than `context`, the model's context in tokens.
    """
    if len(row.tokens) > context:
        raise TooLong(
            f"record {row.id!r} is {len(row.tokens)} tokens long and the model's context is "
            f"{context}; shorten it, use smaller images, or raise model.context"
        )
    return row


def leave_out(errors: Sequence[TooLong], total: int, *, max_bad: float) -> None:
    """Logs how many of `total` records are left out, with the first one's error.

    Raises:
        ValueError: they are all, or a larger share than `max_bad`.
    """
    # 0.05 of 20 is 1, whatever the last bit of the product
    if len(errors) == total or len(errors) > math.floor(max_bad * total + 1e-6):
        raise ValueError(
            f"{len(errors)} of {total} records are too long, more than the share data.max_bad="
            f"{max_bad}; the first: {errors[0]}"
        )
    logging.getLogger(__name__).warning(
        "%d of %d records are too long and left out; the first: %s", len(errors), total, errors[0]
    )


def render_stream(
    examples: Iterable[Example],
    render: Callable[[Example], Row],
    leave_out: Callable[[Sequence[TooLong], int], None] | None,
) -> Iterator[Row]:
    """Yields the rows of a stream of examples; too long ones as in `data.Rendered`.

    Raises:
        ValueError: as `render`, or after the last row as `leave_out`.
    """
    total, errors = 0, []
    for example in examples:
        total += 1
        try:
            yield render(example)
        except TooLong as error:
            if leave_out is None:
                raise
            errors.append(error)
    if errors:
        leave_out(errors, total)


def encode_images(
    backbone: Backbone, variables: Variables, rows: Iterable[Row], mesh: Mesh, *, batch: int
) -> Iterator[Row]:
    """Replaces the pixels of each row by their ids, `batch` images per call.

    Rows are taken `batch` at a time: no more are in memory, however many there are.
    """
    encode = jax.jit(backbone.tokenize)
    stream = iter(rows)
    while chunk := list(islice(stream, batch)):
        images = [image for row in chunk for image in row.images]
        ids = iter(_encode(encode, variables, images, mesh, batch))
        rows_of_ids = [_fill(row, list(islice(ids, len(row.images)))) for row in chunk]
        del chunk, images  # their pixels: 0.3 GB of 64 puzzles with four options, 512 px
        yield from rows_of_ids


def _encode(encode, variables: Variables, images: Sequence[np.ndarray], mesh: Mesh, batch: int):
    ids: list[np.ndarray] = []
    mine = meshes.rows(mesh, batch)
    for at in range(0, len(images), batch):
        part = images[at : at + batch]
        padded = [*part, *[part[0]] * (batch - len(part))]
        ours = meshes.put(np.stack([padded[i] for i in mine]), mesh)
        ids += list(meshes.gather(meshes.get(encode(variables, ours)), mesh)[: len(part)])
    return ids


def _fill(row: Row, ids: Sequence[np.ndarray]) -> Row:
    tokens = row.tokens.copy()
    for start, picture in zip(row.starts, ids, strict=True):
        tokens[start : start + len(picture)] = picture
    return row._replace(tokens=tokens, images=(), starts=())


def fingerprint(
    c: ConfigDict, task: str, cosmetic: Sequence[str], images: Mapping[str, Any]
) -> dict[str, str]:
    """Everything that the encoded rows of a config's `data.train` depend on.

    `cosmetic` are the options of the task that do not change its examples; `images` is what the
    ids of an image depend on, a backbone's `picture_identity`.
    """
    model, left_out = c.model, ("task", *cosmetic)
    return {
        "task": task,
        "data": repr(sorted((k, v) for k, v in c.data.train.items() if k not in left_out)),
        "tokenizer": model.tokenizer or model.weights,
        "pictures": json.dumps(images, sort_keys=True),
        "preprocess": model.preprocess,
        "supervision": f"learn {c.sft.learn}, eos {c.sft.eos}",
    }
