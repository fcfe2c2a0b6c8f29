"""Rendered prompts to replies: pad, put, prepare, sample, get, read; paint or embed, where asked.

Axes: N prompts, G samples per prompt, B = N G rows of this process, T time, K ids of a picture.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mmcot_jax import data
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Picture, Reply, Row
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import row_keys, sample
from mmcot_jax.types import Backbone, Rollout, Variables, row_axes


class Generations(NamedTuple):
    """What was sampled, on the device, and what this process's rows of it say."""

    rollout: Rollout
    replies: list[Reply]
    ids: list[np.ndarray]
    """int32 [T] each: the tokens of each reply, EOS included."""
    tokens: np.ndarray
    """int [B], written, EOS included."""
    ended: np.ndarray
    """bool [B], by EOS, not by the budget."""


class Generator:
    """Samples G replies to each of a batch of prompts; a group's rows are next to each other."""

    def __init__(
        self,
        backbone: Backbone,
        mesh: Mesh,
        sampling: Sampling,
        *,
        length: int,
        num_generations: int = 1,
        micro_batches: int = 1,
    ):
        self._backbone, self._mesh = backbone, mesh
        self._fixed = dict(
            sampling=sampling,
            length=length,
            num_generations=num_generations,
            micro_batches=micro_batches,
        )
        self._g = num_generations
        self._prepare = jax.jit(backbone.prepare)
        self._image_decoders = image_decoders(backbone)
        self._eos = list(backbone.grammar.eos)
        self._image_len = int(backbone.grammar.image_len)
        self._grammar = meshes.replicate(backbone.grammar, mesh)

    def __call__(
        self,
        variables: Variables,
        rows: Sequence[Row],
        width: int,
        key: jax.Array,
        numbers: np.ndarray,
        *,
        image_slots: int | None = None,
        image_shape: tuple[int, ...] = (),
    ) -> Generations:
        """Prompts padded on the left to `width`; prompt n's sample g draws by number n G + g.

        `image_slots` and `image_shape` as `data.pad` has them: the same in every call, and on
        every process, they keep to one program.
        """
        batch = data.pad(
            rows,
            width,
            "left",
            image_slots=image_slots,
            image_shape=image_shape,
        )
        batch = meshes.put(batch, self._mesh, row_axes(batch))
        each = (numbers[:, None] * self._g + np.arange(self._g)).reshape(-1).astype(np.int32)
        numbers = meshes.put(each, self._mesh)
        key = meshes.replicate(key, self._mesh)
        with meshes.no_implicit_transfers(self._mesh):
            rollout = sample(
                self._backbone,
                variables,
                self._grammar,
                self._prepare(variables, batch),
                row_keys(key, numbers),
                **self._fixed,
            )
        ids, valid = meshes.get((rollout.tokens, rollout.valid))
        written = [row[there] for row, there in zip(ids, valid, strict=True)]
        replies = [self._backbone.renderer.read(row) for row in written]
        tokens = valid.sum(axis=1)
        last = ids[np.arange(len(ids)), np.maximum(tokens - 1, 0)]
        return Generations(rollout, replies, written, tokens, np.isin(last, self._eos))

    def decode_images(
        self, variables: Variables, replies: Sequence[Reply], batch: int
    ) -> list[Reply]:
        """The replies with all the backbone shows of every whole picture, pixels or embedding.

        `batch` pictures a call.
        """
        whole = [p.ids for r in replies for p in r.pictures if len(p.ids) == self._image_len]
        made = {field: self._make(field, variables, whole, batch) for field in self._image_decoders}
        numbers = iter(range(len(whole)))

        def fill(segment: str | Picture) -> str | Picture:
            if isinstance(segment, Picture) and len(segment.ids) == self._image_len:
                number = next(numbers)
                return segment._replace(**{field: values[number] for field, values in made.items()})
            return segment

        return [Reply(tuple(map(fill, reply.segments))) for reply in replies]

    def _make(
        self, field: str, variables: Variables, ids: Sequence[np.ndarray], batch: int
    ) -> list[np.ndarray]:
        values: list[np.ndarray] = []
        # every process enters every call, also one whose replies have fewer pictures
        for call in range(meshes.all_reduce_max(-(-len(ids) // batch))):
            part = ids[call * batch : (call + 1) * batch]
            filled = np.zeros((batch, self._image_len), np.int32)
            filled[: len(part)] = part if len(part) else 0
            made = self._image_decoders[field](variables, meshes.put(filled, self._mesh))
            values += list(meshes.get(made)[: len(part)])
        return values


def image_decoders(backbone: Backbone) -> dict[str, Callable[[Variables, jax.Array], jax.Array]]:
    """What of a `Picture` the backbone makes, by field: jitted, (variables, ids [N K]) -> it."""
    every = {
        "pixels": lambda variables, ids: backbone.paint(variables, ids, None),
        "embedding": lambda variables, ids: _unit(backbone.embed(variables, ids)),
    }
    return {
        field: jax.jit(make) for field, make in every.items() if field in backbone.image_outputs
    }


def _unit(x: jax.Array) -> jax.Array:
    """Of norm 1 along the last axis."""
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
