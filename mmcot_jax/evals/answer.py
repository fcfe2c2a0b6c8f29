"""Questions to answered questions, batch by batch, in order."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from mmcot_jax import data
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Example, Reply
from mmcot_jax.hosts import Preempted, never_preempted
from mmcot_jax.log import Log
from mmcot_jax.rollout.generate import Generator
from mmcot_jax.sample import distribution
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
    preempted: Callable[[], bool] = never_preempted,
) -> list[Answered]:
    """All `examples`, answered in order, the whole pictures of this process's rows painted.

    Every process has every answer, so that what is found in them needs no more words between
    processes. `preempted` is asked after every batch whether to end.

    `c` has `batch_size`, `max_completion_length`, the sampling's fields, and `num_generations`
    where an example is to have several answers, next to each other. Answer g of example i draws
    with `fold_in(key, i * num_generations + g)`, whatever the batch size.

    Raises:
        Preempted: it was; the next run asks again.
        ValueError: a batch that the mesh does not divide, or numbers that make no law to draw by.
    """
    meshes.check_rows("eval.batch_size", c["batch_size"], mesh)
    g = c.get("num_generations", 1)
    generator = Generator(
        backbone,
        mesh,
        distribution.sampling(c, "eval"),
        length=c["max_completion_length"],
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
        mine=meshes.rows(mesh, c["batch_size"]),
    )
    for step, part in enumerate(parts):
        there = {number: rows.question(number) for number in part if number is not None}
        pairs = [*there.values()] + [rows.question(0)] * (len(part) - len(there))
        numbers = np.array([*there] + [0] * (len(part) - len(there)), np.int32)
        asked = generator(variables, [row for _, row in pairs], width, key, numbers, **images)
        replies = asked.replies[: len(there) * g]
        if paint:
            replies = generator.decode_images(variables, replies, c["batch_size"])
        ours = {
            g * number + k: Answered(
                example.without_pixels,
                replies[g * n + k],
                backbone.renderer.read(row.tokens).text,
                int(asked.tokens[g * n + k]),
                bool(asked.ended[g * n + k]),
            )
            for n, (number, (example, row)) in enumerate(there.items())
            for k in range(g)
        }
        ids = dict(zip(ours, asked.ids, strict=False))  # without those of the filled rows
        found = _everyone(
            ours, ids, lambda n: examples[n // g].without_pixels, backbone.renderer.read
        )
        answered += found
        written += sum(a.tokens for a in found)
        if log:
            log.write(step, {"tokens_per_second": written / (time.monotonic() - began)})
            log.advance(step)
        if preempted():
            raise Preempted(f"the evaluation was at its question {len(answered) // g}")
    return answered


def _everyone(
    ours: Mapping[int, Answered],
    ids: Mapping[int, np.ndarray],
    example: Callable[[int], Example],
    read: Callable[[np.ndarray], Reply],
) -> list[Answered]:
    """The answers of all processes by their numbers; the ids say what the others' replies were."""
    if jax.process_count() == 1:
        return list(ours.values())
    told = [(n, ids[n].tolist(), a.prompt, a.tokens, a.ended) for n, a in ours.items()]
    found = dict(ours)
    for number, written, *rest in itertools.chain(*meshes.all_gather_objects(told)):
        if number not in found:
            reply = read(np.array(written, np.int32))
            found[number] = Answered(example(number), reply, *rest)
    return [found[number] for number in sorted(found)]


def drawn(backbone: Backbone, reply: Reply) -> list[np.ndarray | None]:
    """The whole pictures of a reply, uint8 [H W 3]; None for one that another process painted."""
    if "pixels" not in backbone.image_outputs:
        return []
    return [p.pixels for p in reply.pictures if len(p.ids) == backbone.grammar.image_len]


def lengths(answered: Sequence[Answered]) -> dict[str, int | float]:
    """How the answers went, whatever the task: TRL's names."""
    n = len(answered)
    return {
        "n": n,
        "completions/mean_length": sum(a.tokens for a in answered) / n,
        "completions/clipped_ratio": sum(not a.ended for a in answered) / n,
        "image/count": sum(len(a.reply.pictures) for a in answered) / n,
    }
