"""Questions to answered questions: render, put, prepare, sample, read, paint.

Axes: B rows, T time, N pictures, K ids of a picture.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from mmcot_jax import data
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Example, Picture, Reply
from mmcot_jax.log import Log
from mmcot_jax.sample.law import Sampling
from mmcot_jax.sample.sampler import row_keys, sample
from mmcot_jax.types import Backbone, Rollout, Variables, row_axes


class Answered(NamedTuple):
    """A question and what the model wrote."""

    example: Example
    reply: Reply
    prompt: str
    """The words the model was given, images as `<image>`."""
    tokens: int
    """Written, EOS included."""
    ended: bool
    """Whether it ended by itself, not by the budget."""


def answer(
    backbone: Backbone,
    variables: Variables,
    examples: Sequence[Example],
    c: Mapping[str, Any],
    *,
    mesh: Mesh,
    key: jax.Array,
    log: Log,
) -> list[Answered]:
    """This process's share of `examples`, answered in order, with every whole picture painted.

    `c` has `batch_size`, `max_completion_length` and the sampling's fields. Row i draws with
    `fold_in(key, i)`, whatever the batch size.

    Raises:
        ValueError: a batch that the mesh does not divide.
    """
    meshes.check_rows("eval.batch_size", c["batch_size"], mesh)
    sampling = Sampling(c["temperature"], c["top_p"], c["top_k"], c["greedy"])
    rows = [backbone.renderer.prompt(example) for example in examples]
    width = max(len(row.tokens) for row in rows)
    width = -(-width // c["length_multiple"]) * c["length_multiple"]
    numbered = list(enumerate(rows))
    grammar, prepare = backbone.grammar, jax.jit(backbone.prepare)
    rules, key = meshes.everywhere((grammar, key), mesh)
    painter = _Painter(backbone, variables, mesh, c["batch_size"])
    answered: list[Answered] = []
    began, written = time.monotonic(), 0
    parts = data.stream(
        numbered,
        c["batch_size"],
        seed=None,
        epochs=1,
        remainder="fill",
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    for step, part in enumerate(parts):
        there = [item for item in part if item is not None]
        filled = there + [numbered[0]] * (len(part) - len(there))
        batch = data.pad([row for _, row in filled], width, "left", pad_id=c["pad_id"])
        batch = meshes.put(batch, mesh, row_axes(batch))
        numbers = meshes.put(np.array([number for number, _ in filled], np.int32), mesh)
        with meshes.strict(mesh):
            rollout = sample(
                backbone,
                variables,
                rules,
                prepare(variables, batch),
                row_keys(key, numbers),
                sampling=sampling,
                length=c["max_completion_length"],
            )
        ids, valid, ended = _written(rollout, grammar.eos)
        replies = [backbone.renderer.read(i[v]) for i, v in zip(ids, valid, strict=True)]
        replies = painter(replies[: len(there)])
        for (number, row), reply, v, end in zip(there, replies, valid, ended, strict=False):
            prompt = backbone.renderer.read(row.tokens).text
            answered.append(Answered(examples[number], reply, prompt, int(v.sum()), bool(end)))
        written += int(valid[: len(there)].sum())
        log.write(step, {"tokens_per_second": written / (time.monotonic() - began)})
        log.advance(step)
    return answered


def lengths(answered: Sequence[Answered]) -> dict[str, int | float]:
    """How the answers went, whatever the task: TRL's names."""
    n = len(answered)
    return {
        "n": n,
        "completions/mean_length": sum(a.tokens for a in answered) / n,
        "completions/clipped_ratio": sum(not a.ended for a in answered) / n,
        "image/count": sum(len(a.reply.pictures) for a in answered) / n,
    }


def _written(rollout: Rollout, eos: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, which of them were written, and which rows ended in EOS."""
    ids, valid = meshes.get((rollout.tokens, rollout.valid))
    last = np.maximum(valid.sum(axis=1) - 1, 0)
    return ids, valid, np.isin(ids[np.arange(len(ids)), last], list(eos))


class _Painter:
    """Paints whole pictures of replies, a fixed number a call."""

    def __init__(self, backbone: Backbone, variables: Variables, mesh: Mesh, batch: int):
        self._paint = jax.jit(lambda variables, ids: backbone.paint(variables, ids, None))
        self._variables, self._mesh, self._batch = variables, mesh, batch
        self._length = int(backbone.grammar.image_len)

    def __call__(self, replies: Sequence[Reply]) -> list[Reply]:
        whole = [p for r in replies for p in r.pictures if len(p.ids) == self._length]
        pixels = iter(self._pixels([picture.ids for picture in whole]))

        def painted(segment):
            if isinstance(segment, Picture) and len(segment.ids) == self._length:
                return segment._replace(pixels=next(pixels))
            return segment

        return [Reply(tuple(map(painted, reply.segments))) for reply in replies]

    def _pixels(self, ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        pixels: list[np.ndarray] = []
        for at in range(0, len(ids), self._batch):
            part = ids[at : at + self._batch]
            filled = np.stack([*part, *[part[0]] * (self._batch - len(part))]).astype(np.int32)
            images = self._paint(self._variables, meshes.put(filled, self._mesh))
            pixels += list(meshes.get(images)[: len(part)])
        return pixels
