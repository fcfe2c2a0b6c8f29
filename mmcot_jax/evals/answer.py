"""Examples to answers, batch by batch, in order."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mmcot_jax import data
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Answered, Example, Reply
from mmcot_jax.hosts import Preempted, never_preempted
from mmcot_jax.log import Log
from mmcot_jax.rollout.generate import Generator, PromptShapes, sample_numbers
from mmcot_jax.sample.sampler import SampleStatic
from mmcot_jax.types import Backbone, Variables


def answer(
    backbone: Backbone,
    variables: Variables,
    examples: Sequence[Example],
    c: Mapping[str, Any],
    *,
    mesh: Mesh,
    key: jax.Array,
    log: Log | None = None,
    decode_images: bool = True,
    preempted: Callable[[], bool] = never_preempted,
) -> list[Answered]:
    """Answers all `examples`, in order; every process returns every answer.

    `c` has `batch_size`, which divides as `mesh.check_rows` checks, `max_completion_length`, the
    fields of `Sampling`, and `num_generations` if an example has several answers, which are then
    adjacent. Answer g of example i draws with `fold_in(key, i * num_generations + g)`, whatever
    the batch size. With `decode_images` the whole pictures of this process's rows are decoded.
    `preempted` is called after every batch; True stops.

    Raises:
        Preempted: `preempted()` returned True; the next run answers again.
        ValueError: sampling options out of range.
    """
    static = SampleStatic.of(c, "eval")
    g = static.num_generations
    rows = data.Rendered(examples, backbone.renderer.prompt)
    width = -(-int(rows.lengths.max()) // c["length_multiple"]) * c["length_multiple"]
    generator = Generator(
        backbone,
        mesh,
        PromptShapes((width,), (int(rows.slots.max()),), rows.image_shape),
        static,
    )
    answered: list[Answered] = []
    began, written = time.monotonic(), 0
    batches = data.stream(
        range(len(rows)),
        c["batch_size"],
        seed=None,
        epochs=1,
        remainder="fill",
        mine=meshes.rows(mesh, c["batch_size"]),
    )
    for step, batch in enumerate(batches):
        numbers = [number for number in batch if number is not None]
        questions = {number: rows.question(number) for number in numbers}
        filler = [0] * (len(batch) - len(numbers))
        given = [q.row for q in questions.values()] + [rows.question(0).row for _ in filler]
        generations = generator(variables, given, np.array(numbers + filler, np.int32), key)
        replies = generations.replies[: len(numbers) * g]
        if decode_images:
            rows = sample_numbers(np.array(numbers, np.int32), g)
            replies = generator.decode_images(
                variables, replies, c["batch_size"], key=key, numbers=rows
            )
        ours = {
            g * number + k: Answered(
                question.example.without_pixels,
                replies[g * n + k],
                backbone.renderer.read(question.row.tokens).text,
                int(generations.tokens[g * n + k]),
                bool(generations.ended[g * n + k]),
            )
            for n, (number, question) in enumerate(questions.items())
            for k in range(g)
        }
        ids = dict(zip(ours, generations.ids, strict=False))  # without those of the filler
        found = _gather(
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


def _gather(
    ours: Mapping[int, Answered],
    ids: Mapping[int, np.ndarray],
    example: Callable[[int], Example],
    read: Callable[[np.ndarray], Reply],
) -> list[Answered]:
    """Answers of all processes in the order of their numbers; other replies are read from ids."""
    if jax.process_count() == 1:
        return list(ours.values())
    sent = [(n, ids[n].tolist(), a.prompt, a.tokens, a.ended) for n, a in ours.items()]
    found = dict(ours)
    for number, written, *rest in itertools.chain(*meshes.all_gather_objects(sent)):
        if number not in found:
            reply = read(np.array(written, np.int32))
            found[number] = Answered(example(number), reply, *rest)
    return [found[number] for number in sorted(found)]


def decoded_pictures(backbone: Backbone, reply: Reply) -> list[np.ndarray | None]:
    """Whole pictures of a reply, uint8 [H W 3]; None for one that another process decoded."""
    if "pixels" not in backbone.image_outputs:
        return []
    return [p.pixels for p in reply.pictures if len(p.ids) == backbone.grammar.image_len]


def lengths(answered: Sequence[Answered]) -> dict[str, int | float]:
    """Statistics of the replies, by TRL's names."""
    n = len(answered)
    return {
        "n": n,
        "completions/mean_length": sum(a.tokens for a in answered) / n,
        "completions/clipped_ratio": sum(not a.ended for a in answered) / n,
        "image/count": sum(len(a.reply.pictures) for a in answered) / n,
    }
