"""Rendered prompts to replies: pad, put, prepare, sample, get, read; decode images where needed.

Axes: N prompts, G samples per prompt, B = N G rows of this process, T time, K ids of a picture.
"""

from collections.abc import Callable, Collection, Sequence
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mmcot_jax import data
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Picture, Question, Reply, Row
from mmcot_jax.sample.sampler import Continued, SampleStatic, row_keys, sample_on
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
    decoded: np.ndarray
    """int [B]: `Rollout.decoded`, at least `tokens`."""


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
        self._prepare = _jit(backbone.prepare)
        self._sample = sample_on(mesh.devices.flat[0].platform)
        self._image_decoders = image_decoders(backbone)
        if "clip" in backbone.image_outputs:
            self._embed_texts = _text_embedder(backbone)
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

        Raises:
            ValueError: a prompt is longer than the last width of the shapes.
        """
        g = self._static.num_generations
        batch = self._shapes.pad(rows)
        batch = meshes.put(batch, self._mesh, row_axes(batch))
        samples = meshes.put(sample_numbers(indices, g), self._mesh)
        if continued is not None:
            continued = meshes.put(continued, self._mesh)
        key = meshes.replicate(key, self._mesh)
        with meshes.no_implicit_transfers(self._mesh):
            rollout = self._sample(
                self._backbone,
                variables,
                self._grammar,
                self._prepare(variables, batch),
                row_keys(key, samples),
                self._static,
                continued,
            )
        ids, valid, decoded = meshes.get((rollout.tokens, rollout.valid, rollout.decoded))
        ids, valid = ids.reshape(-1, ids.shape[-1]), valid.reshape(-1, ids.shape[-1])
        written = [row[there] for row, there in zip(ids, valid, strict=True)]
        replies = [self._backbone.renderer.read(row) for row in written]
        tokens = valid.sum(axis=1)
        last = ids[np.arange(len(ids)), np.maximum(tokens - 1, 0)]
        ended = np.isin(last, list(self._backbone.grammar.eos))
        return Generations(rollout, replies, written, tokens, ended, decoded.reshape(-1))

    def decode_images(
        self,
        variables: Variables,
        replies: Sequence[Reply],
        batch: int,
        *,
        key: jax.Array,
        numbers: np.ndarray,
        fields: Collection[str] | None = None,
    ) -> list[Reply]:
        """Adds the backbone's `image_outputs` to every whole picture, `batch` pictures per call.

        A picture is whole if it has all of its ids. Picture k of a reply is painted with the noise
        of `picture_key(key, number, k)`, where `numbers` are the replies', int [B]. `fields` names
        the outputs that are computed; None: all.
        """
        length = int(self._backbone.grammar.image_len)
        whole = [
            (picture.ids, number, k)
            for number, reply in zip(numbers.tolist(), replies, strict=True)
            for k, picture in enumerate(reply.pictures)
            if len(picture.ids) == length
        ]
        outputs = self._decode(variables, whole, batch, key, fields)
        numbers = iter(range(len(whole)))

        def fill(segment: str | Picture) -> str | Picture:
            if isinstance(segment, Picture) and len(segment.ids) == length:
                number = next(numbers)
                return segment._replace(**{f: values[number] for f, values in outputs.items()})
            return segment

        return [Reply(tuple(map(fill, reply.segments))) for reply in replies]

    def embed_texts(self, variables: Variables, texts: Sequence[str]) -> np.ndarray:
        """Returns CLIP's embeddings of texts, one per prompt of a batch, float32 [N E], norm 1."""
        ids = meshes.put(self._backbone.text_ids(texts), self._mesh)
        return meshes.get(self._embed_texts(variables, ids))

    def add_scenes(self, variables: Variables, questions: Sequence[Question]) -> list[Question]:
        """Adds CLIP's embedding of its `extra["scene"]`, as "scene_clip", to each question."""
        scenes = [question.example.extra.get("scene") for question in questions]
        embeddings = self.embed_texts(variables, [scene or "" for scene in scenes])

        def add(question: Question, scene: str | None, embedding: np.ndarray) -> Question:
            if scene is None:
                return question
            extra = {**question.example.extra, "scene_clip": embedding}
            return question._replace(example=question.example._replace(extra=extra))

        return list(map(add, questions, scenes, embeddings))

    def _decode(
        self,
        variables: Variables,
        pictures: Sequence[tuple[np.ndarray, int, int]],
        batch: int,
        key: jax.Array,
        fields: Collection[str] | None,
    ) -> dict[str, list[np.ndarray]]:
        """The fields of pictures, given as ids [K], number of the reply, and in the reply."""
        wanted = [f for f in self._image_decoders if fields is None or f in fields]
        needed = set(wanted) | ({"pixels"} if "clip" in wanted else set())
        values: dict[str, list[np.ndarray]] = {field: [] for field in wanted}
        key = meshes.replicate(key, self._mesh)
        # every process makes every call, also one whose replies have fewer pictures
        for call in range(meshes.all_reduce_max(-(-len(pictures) // batch)) if wanted else 0):
            part = pictures[call * batch : (call + 1) * batch]
            filled = np.zeros((batch, int(self._backbone.grammar.image_len)), np.int32)
            places = np.zeros((batch, 2), np.int32)
            for i, (ids, *place) in enumerate(part):
                filled[i], places[i] = ids, place
            ids, places = (meshes.put(x, self._mesh) for x in (filled, places))
            made = {}
            for field in sorted(needed, key=DECODED.index):
                source = made["pixels"] if field == "clip" else ids
                keys = (key, places) if field == "pixels" else ()
                made[field] = self._image_decoders[field](variables, source, *keys)
            for field in wanted:
                values[field] += list(meshes.get(made[field])[: len(part)])
        return values


DECODED = ("embedding", "pixels", "clip")
"""Fields of a `Picture` that backbones compute; "clip" from "pixels"."""


# once for a backbone: each evaluation has a generator of its own, which would trace them anew
_jit = cache(jax.jit)


@cache
def _text_embedder(backbone: Backbone) -> Callable[..., jax.Array]:
    return jax.jit(lambda *given: _normalize(backbone.embed_texts(*given)))


@cache
def image_decoders(backbone: Backbone) -> dict[str, Callable[..., jax.Array]]:
    """Returns jitted functions that compute fields of a `Picture`, by the field's name.

    "pixels": (variables, ids [N K], key, places int [N 2] of reply and picture) -> uint8 [N H W 3];
    "embedding": (variables, ids) -> [N E]; "clip": (variables, pixels) -> [N E].
    """

    def paint(variables, ids, key, places):
        keys = jax.vmap(partial(picture_key, key))(places[:, 0], places[:, 1])
        return backbone.paint(variables, ids, keys)

    every = {
        "embedding": lambda variables, ids: _normalize(backbone.embed(variables, ids)),
        "pixels": paint,
        "clip": lambda variables, pixels: _normalize(backbone.embed_pixels(variables, pixels)),
    }
    return {f: jax.jit(decode) for f, decode in every.items() if f in backbone.image_outputs}


def sample_numbers(prompts: np.ndarray, g: int) -> np.ndarray:
    """Returns the numbers n G + g of the samples of prompts n, int32 [N G]."""
    return (prompts[:, None] * g + np.arange(g)).reshape(-1).astype(np.int32)


def picture_key(key: jax.Array, number: jax.Array, picture: jax.Array) -> jax.Array:
    """The key of a picture's noise: a function of the step's key, and of reply and picture."""
    key = jax.random.fold_in(key, np.uint32(2**32 - 2))  # not a key of the samples
    return jax.random.fold_in(jax.random.fold_in(key, number), picture)


def _normalize(x: jax.Array) -> jax.Array:
    """Scales to norm 1 along the last axis."""
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
