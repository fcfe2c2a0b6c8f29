"""Examples to answers, batch by batch, in order."""

import base64
import io
import itertools
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from PIL import Image

from mmcot_jax import data, prompt_pictures
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Answered, Example, Picture, Question, Reply, Row
from mmcot_jax.hosts import Preempted, never_preempted
from mmcot_jax.log import Log
from mmcot_jax.rollout.generate import Generations, Generator, PromptShapes, sample_numbers
from mmcot_jax.sample.sampler import Continued, SampleStatic
from mmcot_jax.types import Backbone, Variables


class Beginnings(NamedTuple):
    """Beginnings of answers, one for each example; sampling continues each once."""

    ids: Sequence[np.ndarray]
    """int32 [T] each: the tokens after the prompt, pictures as ids."""
    numbers: np.ndarray
    """int32 [N]: answer n draws with `fold_in(key, n)`."""
    written: np.ndarray
    """int32 [N]: tokens of the budget that are spent, also on pictures removed from `ids`."""
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
    gather_images: bool = False,
    preempted: Callable[[], bool] = never_preempted,
    beginnings: Beginnings | None = None,
    pictures_to: pathlib.Path | None = None,
) -> list[Answered]:
    """Answers all `examples`, in order; every process returns every answer.

    `c` has `batch_size`, a multiple of data x fsdp (`mesh.check_rows`), `max_completion_length`,
    the fields of `Sampling`, and `num_generations` if an example has several answers, which are
    then adjacent. Answer g of example i draws with `fold_in(key, i * num_generations + g)`,
    whatever the batch size. With `decode_images` the whole pictures of this process's rows are
    decoded, and with `gather_images` every process has their pixels; otherwise only this one has.
    `preempted` is called after every batch; True stops. With `beginnings` every example has one
    answer, which is continued; the budget of a completion counts its beginning. The pictures of the
    first `prompt_pictures.MOST_SHOWN` questions are saved in `pictures_to`, if that is given.

    Raises:
        Preempted: `preempted()` returned True; the next run answers again.
        ValueError: sampling options out of range.
    """
    static = SampleStatic.of(c, "eval")
    rows = data.Rendered(examples, backbone.renderer.prompt)
    given = backbone, variables, rows, c, static, mesh, key
    batched = _Batches(*given, beginnings, decode_images, gather_images, pictures_to)
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
        found = batched.answer(batch)
        answered += found
        written += sum(a.tokens for a in found)
        if log:
            log.write(step, {"tokens_per_second": written / (time.monotonic() - began)})
            log.advance(step)
        if preempted():
            raise Preempted(f"the evaluation was at its question {len(answered) // batched.g}")
    return answered


class _Batches:
    """Answers batches of questions with one compiled program."""

    def __init__(
        self,
        backbone: Backbone,
        variables: Variables,
        rows: data.Rendered,
        c: Mapping[str, Any],
        static: SampleStatic,
        mesh: Mesh,
        key: jax.Array,
        beginnings: Beginnings | None,
        decode_images: bool,
        gather_images: bool,
        pictures_to: pathlib.Path | None,
    ):
        self._backbone, self._variables, self._rows, self._key = backbone, variables, rows, key
        self._beginnings, self._budget = beginnings, static.length
        self._decode_images, self._gather_images = decode_images, gather_images
        self._pictures_to = pictures_to
        self._batch_size = c["batch_size"]
        lengths, draws = rows.lengths, True
        if beginnings:
            lengths, draws = lengths + list(map(len, beginnings.ids)), beginnings.draws
            left = max(1, static.length - int(beginnings.written.min()))
            static = static._replace(length=left, num_generations=1)
        self.g = static.num_generations
        """Answers of a question."""
        width = -(-int(lengths.max()) // c["length_multiple"]) * c["length_multiple"]
        shapes = PromptShapes((width,), (int(rows.slots.max()),), rows.image_shape)
        self._generator = Generator(backbone, mesh, shapes, static, draws=draws)

    def answer(self, batch: Sequence[int | None]) -> list[Answered]:
        """Returns the answers of all processes; None in this one's `batch` fills it up."""
        numbers = [number for number in batch if number is not None]
        filler = [0] * (len(batch) - len(numbers))
        questions = [self._rows.question(number) for number in numbers]
        generations, replies = self._sample(questions, numbers, filler)
        saved: list[tuple[str, ...]] = [()] * len(numbers)
        if self._pictures_to:
            most = prompt_pictures.MOST_SHOWN
            shown = [q.example for n, q in zip(numbers, questions, strict=True) if n < most]
            saved[: len(shown)] = prompt_pictures.save(self._pictures_to, shown)
        g, read = self.g, self._backbone.renderer.read
        ours = {
            g * number + k: Answered(
                question.example.without_pixels,
                replies[g * n + k],
                read(question.row.tokens).text,
                int(generations.tokens[g * n + k]),
                bool(generations.ended[g * n + k]),
                generations.ids[g * n + k],
                saved[n],
            )
            for n, (number, question) in enumerate(zip(numbers, questions, strict=True))
            for k in range(g)
        }

        def example(number: int) -> Example:
            return self._rows.examples[number // g].without_pixels

        return _gather(ours, example, read, self._gather_images)

    def _sample(
        self, questions: Sequence[Question], numbers: Sequence[int], filler: Sequence[int]
    ) -> tuple[Generations, Sequence[Reply]]:
        """Samples replies to this process's questions, and decodes the pictures in them."""
        given = [q.row for q in questions]
        if filler:
            given += [self._rows.question(0).row] * len(filler)
        every = [*numbers, *filler]
        indices = np.array(every, np.int32)
        continued, begun = None, self._beginnings
        if begun:
            given = [begun.row(row, i) for row, i in zip(given, every, strict=True)]
            continued = begun.continued(indices, self._budget)
            indices = begun.numbers[indices]
        generations = self._generator(self._variables, given, indices, self._key, continued)
        if begun:
            generations = _whole(generations, begun, numbers, self._backbone.renderer.read)
        replies = generations.replies[: len(numbers) * self.g]
        if self._decode_images:
            replies = self._generator.decode_images(
                self._variables,
                replies,
                self._batch_size,
                key=self._key,
                numbers=sample_numbers(indices[: len(numbers)], self.g),
            )
        return generations, replies


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
    images: bool = False,
) -> list[Answered]:
    """Returns the answers of all processes in the order of their numbers.

    Other processes' replies are read from ids, and have their pixels with `images`.
    """
    if jax.process_count() == 1:
        return list(ours.values())
    sent = [
        (
            n,
            a.ids.tolist(),
            [to_base64(p.pixels) for p in a.reply.pictures] if images else [],
            a.prompt_pictures,
            a.prompt,
            a.tokens,
            a.ended,
        )
        for n, a in ours.items()
    ]
    found = dict(ours)
    for number, written, pixels, shown, *rest in itertools.chain(*meshes.all_gather_objects(sent)):
        if number not in found:
            ids = np.array(written, np.int32)
            reply = with_pixels(read(ids), map(from_base64, pixels)) if images else read(ids)
            found[number] = Answered(example(number), reply, *rest, ids, tuple(shown))
    return [found[number] for number in sorted(found)]


def to_base64(pixels: np.ndarray | None) -> str:
    """Returns a picture, uint8 [H W 3], as the text of a PNG file; "" for None."""
    if pixels is None:
        return ""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def from_base64(png: str) -> np.ndarray | None:
    """Returns the picture of `to_base64`."""
    if not png:
        return None
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        return np.array(image)


def with_pixels(reply: Reply, pixels: Iterator[np.ndarray | None]) -> Reply:
    """Returns a reply whose pictures have these pixels, in their order."""
    return Reply(
        tuple(
            segment._replace(pixels=next(pixels)) if isinstance(segment, Picture) else segment
            for segment in reply.segments
        )
    )


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
