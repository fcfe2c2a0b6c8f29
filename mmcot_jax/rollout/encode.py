"""Rows whose images are already ids: pictures go through the device once, not once an epoch.

Axes: N images, K ids of a picture, h w pixels.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import jax
import numpy as np
from jax.sharding import Mesh

from mmcot_jax import mesh as meshes
from mmcot_jax.example import Row
from mmcot_jax.types import Backbone, Variables


def check_lengths(rows: Iterable[Row], context: int) -> list[Row]:
    """The rows, if each fits the model.

    Raises:
        ValueError: a row is longer than the model's context.
    """
    checked = []
    for row in rows:
        if len(row.tokens) > context:
            raise ValueError(
                f"record {row.id!r} is {len(row.tokens)} tokens long and the model's context is "
                f"{context}; shorten it, use smaller images, or raise model.context"
            )
        checked.append(row)
    return checked


def encode_images(
    backbone: Backbone, variables: Variables, rows: Iterable[Row], mesh: Mesh, *, batch: int
) -> Iterator[Row]:
    """The same rows, their images' ids in place and their pixels gone; `batch` images a call."""
    encode = jax.jit(backbone.tokenize)
    stream = iter(rows)
    while chunk := list(islice(stream, batch)):
        images = [image for row in chunk for image in row.images]
        yield from map(
            _filled, chunk, _deal(_encode(encode, variables, images, mesh, batch), chunk)
        )


def _encode(encode, variables: Variables, images: Sequence[np.ndarray], mesh: Mesh, batch: int):
    ids: list[np.ndarray] = []
    mine = meshes.rows(mesh, batch)
    for at in range(0, len(images), batch):
        part = images[at : at + batch]
        filled = [*part, *[part[0]] * (batch - len(part))]
        ours = meshes.put(np.stack([filled[i] for i in mine]), mesh)
        ids += list(meshes.gather(meshes.get(encode(variables, ours)), mesh)[: len(part)])
    return ids


def _deal(ids: Iterable[np.ndarray], rows: Sequence[Row]) -> Iterator[list[np.ndarray]]:
    ids = iter(ids)
    return (list(islice(ids, len(row.images))) for row in rows)


def _filled(row: Row, ids: Sequence[np.ndarray]) -> Row:
    tokens = row.tokens.copy()
    for start, picture in zip(row.starts, ids, strict=True):
        tokens[start : start + len(picture)] = picture
    return row._replace(tokens=tokens, images=(), starts=())
