"""Images of supervised rows as ids: each goes through the device once, not once an epoch.

Axes: N images, K ids of a picture, h w pixels.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmcot_jax import mesh as meshes
from mmcot_jax.example import Row
from mmcot_jax.types import Backbone, Variables


def check_length(row: Row, context: int) -> Row:
    """Returns the row.

    Raises:
        ValueError: it is longer than `context`, the model's context in tokens.
    """
    if len(row.tokens) > context:
        raise ValueError(
            f"record {row.id!r} is {len(row.tokens)} tokens long and the model's context is "
            f"{context}; shorten it, use smaller images, or raise model.context"
        )
    return row


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
