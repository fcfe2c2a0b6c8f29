"""Examples to answers, batch by batch, in order."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from mmcot_jax import data
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Answered, Example, Reply, Row
from mmcot_jax.hosts import Preempted, never_preempted
from mmcot_jax.log import Log
from mmcot_jax.rollout.generate import Generations, Generator, PromptShapes, sample_numbers
from mmcot_jax.sample.sampler import Continued, SampleStatic
from mmcot_jax.types import Backbone, Variables


class Beginnings(NamedTuple):
    """How answers begin, one for each example: they are continued from there, once."""

    ids: Sequence[np.ndarray]
    """int32 [T] each: the tokens after the prompt, pictures as ids."""
    numbers: np.ndarray
    """int32 [N], the numbers of the answers: each draws the noise of its own."""
    written: np.ndarray
    """int32 [N], tokens of the completion so far, those that were cut out included."""
    draws: bool = True
    """False: the answers continue without a picture."""

    def row(self, prompt: Row, index: int) -> Row:
        """Returns a prompt that ends with the beginning of answer `index`."""
        ids = self.ids[index]
        axes, after = len(prompt.positions), int(prompt.positions.max()) + 1
        more = np.broadcast_to(np.arange(after, after + len(ids), dtype=np.int32), (axes, len(ids)))
        return prompt._replace(
            tokens=np.concatenate([prompt.tokens, ids]).astype(np.int32),
            positions=np.concatenate([prompt.positions, more], axis=1),
            loss=np.zeros(len(prompt.tokens) + len(ids), bool),
        )

    def continued(self, indices: np.ndarray, length: int) -> Continued:
        """Returns the rest of a budget of `length` tokens for the answers of `indices`."""
        written = self.written[indices].astype(np.int32)
        return Continued(written, np.int32(length) - written)


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
    beginnings: Beginnings | None = None,
) -> list[Answered]:
    """Answers all `examples`, in order; every process returns every answer.

    `c` has `batch_size`, which divides as `mesh.check_rows` checks, `max_completion_length`, the
    fields of `Sampling`, and `num_generations` if an example has several answers, which are then
    adjacent. Answer g of example i draws with `fold_in(key, i * num_generations + g)`, whatever
    the batch size. With `decode_images` the whole pictures of this process's rows are decoded.
    `preempted` is called after every batch; True stops. With `beginnings` every example has one
    answer, which is continued; the budget of a completion counts its beginning.

    Raises:
        Preempted: `preempted()` returned True; the next run answers again.
        ValueError: sampling options out of range.
    """
    static = SampleStatic.of(c, "eval")
    rows = data.Rendered(examples, backbone.renderer.prompt)
    lengths, budget, draws = rows.lengths, static.length, True
    if beginnings:
        lengths, draws = lengths + list(map(len, beginnings.ids)), beginnings.draws
        left = max(1, budget - int(beginnings.written.min()))
        static = static._replace(length=left, num_generations=1)
    g = static.num_generations
    width = -(-int(lengths.max()) // c["length_multiple"]) * c["length_multiple"]
    generator = Generator(
        backbone,
        mesh,
        PromptShapes((width,), (int(rows.slots.max()),), rows.image_shape),
        static,
        draws=draws,
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
        indices = np.array(numbers + filler, np.int32)
        continued = None
        if beginnings:
            given = [beginnings.row(row, i) for row, i in zip(given, numbers + filler, strict=True)]
            continued = beginnings.continued(indices, budget)
            indices = beginnings.numbers[indices]
        generations = generator(variables, given, indices, key, continued)
        if beginnings:
            generations = _whole(generations, beginnings, numbers, backbone.renderer.read)
        replies = generations.replies[: len(numbers) * g]
        if decode_images:
            drawn = sample_numbers(indices[: len(numbers)], g)
            replies = generator.decode_images(
                variables, replies, c["batch_size"], key=key, numbers=drawn
            )
        ours = {
            g * number + k: Answered(
                question.example.without_pixels,
                replies[g * n + k],
                backbone.renderer.read(question.row.tokens).text,
                int(generations.tokens[g * n + k]),
                bool(generations.ended[g * n + k]),
                generations.ids[g * n + k],
            )
            for n, (number, question) in enumerate(questions.items())
            for k in range(g)
        }
        found = _gather(ours, lambda n: examples[n // g].without_pixels, backbone.renderer.read)
        answered += found
        written += sum(a.tokens for a in found)
        if log:
            log.write(step, {"tokens_per_second": written / (time.monotonic() - began)})
            log.advance(step)
        if preempted():
            raise Preempted(f"the evaluation was at its question {len(answered) // g}")
    return answered


def _whole(
    continuations: Generations,
    beginnings: Beginnings,
    indices: Sequence[int],
    read: Callable[[np.ndarray], Reply],
) -> Generations:
    """Returns the answers of `indices` with their beginnings, without those of the filler."""
    begun = [beginnings.ids[index] for index in indices]
    ids = [np.concatenate(both) for both in zip(begun, continuations.ids, strict=False)]
    n = len(ids)
    return continuations._replace(
        replies=[read(whole) for whole in ids],
        ids=ids,
        tokens=np.array([len(whole) for whole in ids], int),
        ended=continuations.ended[:n],
    )


def _gather(
    ours: Mapping[int, Answered],
    example: Callable[[int], Example],
    read: Callable[[np.ndarray], Reply],
) -> list[Answered]:
    """Answers of all processes in the order of their numbers; other replies are read from ids."""
    if jax.process_count() == 1:
        return list(ours.values())
    sent = [(n, a.ids.tolist(), a.prompt, a.tokens, a.ended) for n, a in ours.items()]
    found = dict(ours)
    for number, written, *rest in itertools.chain(*meshes.all_gather_objects(sent)):
        if number not in found:
            ids = np.array(written, np.int32)
            found[number] = Answered(example(number), read(ids), *rest, ids)
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
