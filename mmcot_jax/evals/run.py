"""Questions to answered questions, batch by batch, in order."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from mmcot_jax import data
from mmcot_jax import mesh as meshes
from mmcot_jax.evals.ask import Asker
from mmcot_jax.example import Example, Reply
from mmcot_jax.log import Log
from mmcot_jax.sample import law
from mmcot_jax.types import Backbone, Variables


class Answered(NamedTuple):
    """A question and what the model wrote."""

    example: Example
    """Without its images' pixels: a thousand photographs are gigabytes."""
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
    log: Log | None = None,
    paint: bool = True,
) -> list[Answered]:
    """This process's share of `examples`, answered in order, with every whole picture painted.

    `c` has `batch_size`, `max_completion_length`, the sampling's fields, and `num_generations`
    where an example is to have several answers, next to each other. Answer g of example i draws
    with `fold_in(key, i * num_generations + g)`, whatever the batch size.

    Raises:
        ValueError: a batch that the mesh does not divide, or numbers that make no law to draw by.
    """
    meshes.check_rows("eval.batch_size", c["batch_size"], mesh)
    g = c.get("num_generations", 1)
    asker = Asker(
        backbone,
        mesh,
        law.sampling(c, "eval"),
        length=c["max_completion_length"],
        pad_id=c["pad_id"],
        num_generations=g,
    )
    rows = data.Rendered(examples, backbone.renderer.prompt)
    images = dict(image_slots=int(rows.slots.max()), image_shape=rows.image_shape)
    width = int(rows.lengths.max())
    width = -(-width // c["length_multiple"]) * c["length_multiple"]
    answered: list[Answered] = []
    began, written = time.monotonic(), 0
    parts = data.stream(
        range(len(rows)),
        c["batch_size"],
        seed=None,
        epochs=1,
        remainder="fill",
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    for step, part in enumerate(parts):
        there = [(number, *rows.pair(number)) for number in part if number is not None]
        filled = there + [(0, *rows.pair(0))] * (len(part) - len(there))
        numbers = np.array([number for number, *_ in filled])
        asked = asker(variables, [row for *_, row in filled], width, key, numbers, **images)
        replies = asked.replies[: len(there) * g]
        if paint:
            replies = asker.painted(variables, replies, c["batch_size"])
        for i, reply in enumerate(replies):
            _, example, row = there[i // g]
            prompt = backbone.renderer.read(row.tokens).text
            tokens, ended = int(asked.tokens[i]), bool(asked.ended[i])
            answered.append(Answered(example.unseen, reply, prompt, tokens, ended))
        written += int(asked.tokens[: len(replies)].sum())
        if log:
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
