"""Rendered prompts to replies: pad, put, prepare, sample, get, read; decode images where needed.

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
from mmcot_jax.sample.sampler import Continued, SampleStatic, row_keys, sample
from mmcot_jax.types import Backbone, Batch, Rollout, Variables, row_axes


class PromptShapes(NamedTuple):
    """The few shapes that batches of prompts are padded to, so that few programs are compiled."""

    widths: tuple[int, ...]
    """Tokens, ascending."""
    image_slots: tuple[int, ...]
    """Images, or windows of images, per row, ascending."""
    image_shape: tuple[int, ...]
    """See `data.Source.image_shape`."""

    @classmethod
    def of(cls, rows: data.Source, limit: int, count: int, multiple: int) -> "PromptShapes":
        """At most `count` widths, multiples of `multiple` up to `limit`, and as many slots."""
        widths = data.choose_buckets(rows.lengths, limit, count, multiple)
        return cls(widths, data.choose_slots(rows.slots, count), rows.image_shape)

    def pad(self, rows: Sequence[Row]) -> Batch:
        """Pads prompts on the left to the smallest shapes that hold those of all processes.

        Raises:
            ValueError: a prompt is longer than the last width.
        """
        longest = meshes.all_reduce_max(max(len(row.tokens) for row in rows))
        slots = meshes.all_reduce_max(max(map(data.image_slots, rows)))
        return data.pad(
            rows,
            data.bucket(longest, self.widths, rows[0].id),
            "left",
            image_slots=next(size for size in self.image_slots if size >= slots),
            image_shape=self.image_shape,
        )


class Generations(NamedTuple):
    """Sampled completions: on the device, and what this process's rows of them read as."""

    rollout: Rollout
    replies: list[Reply]
    ids: list[np.ndarray]
    """int32 [T] each: the tokens of each reply, EOS included."""
    tokens: np.ndarray
    """int [B]: number of tokens, EOS included."""
    ended: np.ndarray
    """bool [B]: True if EOS ended the reply, False if the token budget did."""


class Generator:
    """Samples G replies to each prompt of a batch; the rows of a group are adjacent."""

    def __init__(
        self,
        backbone: Backbone,
        mesh: Mesh,
        shapes: PromptShapes,
        static: SampleStatic,
        *,
        draws: bool = True,
    ):
        """With `draws` False the replies are text, whatever the backbone's grammar allows."""
        self._backbone, self._mesh = backbone, mesh
        self._shapes, self._static = shapes, static
        self._prepare = jax.jit(backbone.prepare)
        self._image_decoders = image_decoders(backbone)
        grammar = backbone.grammar if draws else backbone.grammar._replace(image_len=0)
        self._grammar = meshes.replicate(grammar, mesh)

    def __call__(
        self,
        variables: Variables,
        rows: Sequence[Row],
        indices: np.ndarray,
        key: jax.Array,
        continued: Continued | None = None,
    ) -> Generations:
        """Samples replies to `rows`; sample g of prompt n draws with `fold_in(key, n G + g)`.

        `indices` are the prompts' numbers n, int [N]. `continued` has int32 [N G], for prompts that
        end with the beginning of their reply; what is returned begins after it.
        """
        g = self._static.num_generations
        batch = self._shapes.pad(rows)
        batch = meshes.put(batch, self._mesh, row_axes(batch))
        samples = (indices[:, None] * g + np.arange(g)).reshape(-1).astype(np.int32)
        samples = meshes.put(samples, self._mesh)
        if continued is not None:
            continued = meshes.put(continued, self._mesh)
        key = meshes.replicate(key, self._mesh)
        with meshes.no_implicit_transfers(self._mesh):
            rollout = sample(
                self._backbone,
                variables,
                self._grammar,
                self._prepare(variables, batch),
                row_keys(key, samples),
                self._static,
                continued,
            )
        ids, valid = meshes.get((rollout.tokens, rollout.valid))
        ids, valid = ids.reshape(-1, ids.shape[-1]), valid.reshape(-1, ids.shape[-1])
        written = [row[there] for row, there in zip(ids, valid, strict=True)]
        replies = [self._backbone.renderer.read(row) for row in written]
        tokens = valid.sum(axis=1)
        last = ids[np.arange(len(ids)), np.maximum(tokens - 1, 0)]
        ended = np.isin(last, list(self._backbone.grammar.eos))
        return Generations(rollout, replies, written, tokens, ended)

    def decode_images(
        self, variables: Variables, replies: Sequence[Reply], batch: int
    ) -> list[Reply]:
        """Adds the backbone's `image_outputs` to every whole picture, `batch` pictures per call.

        A picture is whole if it has all of its ids.
        """
        length = int(self._backbone.grammar.image_len)
        whole = [p.ids for r in replies for p in r.pictures if len(p.ids) == length]
        outputs = {
            field: self._decode(decoder, variables, whole, batch)
            for field, decoder in self._image_decoders.items()
        }
        numbers = iter(range(len(whole)))

        def fill(segment: str | Picture) -> str | Picture:
            if isinstance(segment, Picture) and len(segment.ids) == length:
                number = next(numbers)
                return segment._replace(**{f: values[number] for f, values in outputs.items()})
            return segment

        return [Reply(tuple(map(fill, reply.segments))) for reply in replies]

    def _decode(
        self,
        decoder: Callable[[Variables, jax.Array], jax.Array],
        variables: Variables,
        ids: Sequence[np.ndarray],
        batch: int,
    ) -> list[np.ndarray]:
        values: list[np.ndarray] = []
        # every process makes every call, also one whose replies have fewer pictures
        for call in range(meshes.all_reduce_max(-(-len(ids) // batch))):
            part = ids[call * batch : (call + 1) * batch]
            filled = np.zeros((batch, int(self._backbone.grammar.image_len)), np.int32)
            filled[: len(part)] = part if len(part) else 0
            made = decoder(variables, meshes.put(filled, self._mesh))
            values += list(meshes.get(made)[: len(part)])
        return values


def image_decoders(backbone: Backbone) -> dict[str, Callable[[Variables, jax.Array], jax.Array]]:
    """Jitted functions (variables, ids [N K]) -> a field of `Picture`, by the field's name."""
    every = {
        "pixels": lambda variables, ids: backbone.paint(variables, ids, None),
        "embedding": lambda variables, ids: _normalize(backbone.embed(variables, ids)),
    }
    return {f: jax.jit(decode) for f, decode in every.items() if f in backbone.image_outputs}


def _normalize(x: jax.Array) -> jax.Array:
    """Scales to norm 1 along the last axis."""
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
