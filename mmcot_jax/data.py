"""Rows made into batches: seeded, sliced by process, resumable.

Axes: N rows of a source, B rows of this process, M images in a row, T time, A position axes,
h w pixels, W windows of K cells of s x s pixels.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import grain
import numpy as np

from mmcot_jax import threads
from mmcot_jax.buckets import bucket, choose_buckets
from mmcot_jax.errors import TooLong
from mmcot_jax.example import Example, Question, Row, Selected, Windows
from mmcot_jax.types import Batch, Pixels

T = TypeVar("T")
Shape = tuple[int, ...]
Remainder = Literal["drop", "fill"]


@runtime_checkable
class Source(Protocol):
    """Rows by index, with the sizes of all of them known before the first is read."""

    lengths: np.ndarray
    """int32 [N], tokens of each row."""
    slots: np.ndarray
    """int32 [N], image slots of each row, see `image_slots`."""
    image_shape: Shape
    """The one shape of all images, (h, w, 3), or of all windows, (K, s, s, 3); () without any."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Row: ...


class _RowSize(NamedTuple):
    id: str
    length: int
    slots: int
    image_shape: Shape


class _Sized:
    """The part of a `Source` that follows from the sizes of its rows."""

    def __init__(self, sizes: Sequence[_RowSize]):
        if not sizes:
            raise ValueError("there are no rows: a source needs at least one")
        self.lengths = np.array([size.length for size in sizes], np.int32)
        self.slots = np.array([size.slots for size in sizes], np.int32)
        self.image_shape = _common_shape((size.id, size.image_shape) for size in sizes)

    def __len__(self) -> int:
        return len(self.lengths)


class Rows(_Sized):
    """A source in memory.

    Raises:
        ValueError: there are no rows, or their images differ in shape.
    """

    def __init__(self, rows: Sequence[Row]):
        self._rows = rows
        super().__init__([_size(row) for row in rows])

    def __getitem__(self, index: int) -> Row:
        return self._rows[index]


class Rendered(_Sized):
    """A source that renders a row each time it is read, and keeps only the rows' sizes.

    A hundred thousand photographs do not fit in a host's memory. To learn the sizes all are
    rendered once, in threads; without their pixels if the examples have a method `sized`, which
    returns an example with a blank image of the same size. Rows for which `render` raises `TooLong`
    are left out after a call `leave_out(their errors, number of examples)`, if it is given.

    Raises:
        ValueError: there are no examples, their images differ in shape, or one cannot be rendered.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        render: Callable[[Example], Row],
        leave_out: Callable[[Sequence[TooLong], int], None] | None = None,
    ):
        self.examples, self._render = examples, render
        sized = getattr(examples, "sized", examples.__getitem__)

        def measure(index: int) -> _RowSize | TooLong:
            try:
                return _size(render(sized(index)))
            except TooLong as error:
                if leave_out is None:
                    raise
                return error

        sizes = threads.map_indices(measure, len(examples))
        if errors := [size for size in sizes if isinstance(size, TooLong)]:
            leave_out(errors, len(sizes))
            kept = [i for i, size in enumerate(sizes) if not isinstance(size, TooLong)]
            self.examples, sizes = Selected(examples, kept), [sizes[i] for i in kept]
        super().__init__(sizes)

    def __getitem__(self, index: int) -> Row:
        return self._render(self.examples[index])

    def question(self, index: int) -> Question:
        """Example `index` with its row."""
        example = self.examples[index]
        return Question(example, self._render(example))


class Questions(Sequence[Question]):
    """The questions of a source; each is read and rendered when it is indexed."""

    def __init__(self, rows: Rendered):
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Question:
        return self._rows.question(index)


def image_slots(row: Row) -> int:
    """Image slots of a row: one per image, or one per window if images may have any size."""
    return len(row.images) if row.windows is None else len(row.windows.image)


def _size(row: Row) -> _RowSize:
    return _RowSize(row.id, len(row.tokens), image_slots(row), _common_shape(_image_shapes(row)))


def _image_shapes(row: Row) -> Iterator[tuple[str, Shape]]:
    for image in row.images:
        yield row.id, image.shape
    if row.windows is not None:
        yield row.id, row.windows.cells.shape[1:]


def _common_shape(shapes: Iterable[tuple[str, Shape]]) -> Shape:
    """The one shape among (row id, shape of its images or ()) pairs; () without images."""
    common: Shape = ()
    for id, shape in shapes:
        common = common or shape
        if shape and shape != common:
            raise ValueError(
                f"row {id!r} has an image of shape {shape}, the others' is {common}: "
                "bring the images of a run to one size"
            )
    return common


def choose_slots(slots: np.ndarray, count: int = 1) -> tuple[int, ...]:
    """At most `count` ascending slot buckets that share the rows evenly; the last holds all."""
    return choose_buckets(slots, int(slots.max()), count, multiple=1)


def pad(
    rows: Sequence[Row],
    length: int,
    side: Literal["left", "right"],
    *,
    image_slots: int | None = None,
    image_shape: Shape = (),
) -> Batch:
    """Pads rows to `length`: a `Batch` with numpy leaves.

    tokens int32 [B T] padded with 0, positions int32 [A B T], valid and loss bool [B T].
    pixels is `Pixels(uint8 [B M h w 3], int32 [B M])`, `starts` counted in the padded row and -1
    where a slot is empty; `Windows` with W = M if images are cut into windows; None if M is 0.
    M is `image_slots`, by default the most of any of these rows. `image_shape` is needed if no row
    of a batch with image slots has images.

        left:  [0 0 p p p]     right: [p p p 0 0]

    Raises:
        ValueError: a row is longer than `length` or has more images than slots, images differ in
            shape, or a row has not as many placeholders as its images have cells.
    """
    shape = (len(rows), length)
    tokens, valid, loss = (np.zeros(shape, dtype) for dtype in (np.int32, bool, bool))
    positions = np.zeros((len(rows[0].positions), *shape), np.int32)
    offsets = np.zeros(len(rows), np.int32)
    for b, row in enumerate(rows):
        n = len(row.tokens)
        bucket(n, (length,), row.id)
        offsets[b] = length - n if side == "left" else 0
        span = slice(offsets[b], offsets[b] + n)
        tokens[b, span], positions[:, b, span] = row.tokens, row.positions
        valid[b, span], loss[b, span] = True, row.loss
    pixels = _pixels(rows, offsets, image_slots, image_shape, length)
    return Batch(tokens, positions, valid, loss, pixels)


def _pixels(
    rows: Sequence[Row], offsets: np.ndarray, slots: int | None, shape: Shape, length: int
) -> Pixels | Windows | None:
    sizes = [_size(row) for row in rows]
    slots = max(size.slots for size in sizes) if slots is None else slots
    shape = _common_shape((size.id, size.image_shape) for size in sizes) or shape
    for row, size in zip(rows, sizes, strict=True):
        if size.slots > slots:
            kind = "images" if row.windows is None else "windows of images"
            raise ValueError(f"row {row.id!r} has {size.slots} {kind}, the limit is {slots}")
    if slots == 0:
        return None
    if len(shape) == len(("K", "s", "s", "3")):
        return _windows(rows, offsets, slots, shape, length)
    images = np.zeros((len(rows), slots, *shape), np.uint8)
    starts = np.full((len(rows), slots), -1, np.int32)
    for b, row in enumerate(rows):
        for m, (image, start) in enumerate(zip(row.images, row.starts, strict=True)):
            images[b, m], starts[b, m] = image, offsets[b] + start
    return Pixels(images, starts)


def _windows(
    rows: Sequence[Row], offsets: np.ndarray, slots: int, shape: Shape, length: int
) -> Windows:
    out = Windows(
        cells=np.zeros((len(rows), slots, *shape), np.uint8),
        at=np.full((len(rows), slots, shape[0], 2), -1, np.int32),
        image=np.full((len(rows), slots), -1, np.int32),
        source=np.full((len(rows), length), -1, np.int32),
    )
    for b, row in enumerate(rows):
        if row.windows is None:
            continue
        cells, at, image, source = row.windows
        placeholders, count, n = (source >= 0).sum(), (at[..., 0] >= 0).sum(), len(image)
        if placeholders != count:
            raise ValueError(
                f"row {row.id!r} has {placeholders} image placeholders and its {row.image_count} "
                f"images have {count} cells: render it again, and never cut a row inside an image"
            )
        out.cells[b, :n], out.at[b, :n], out.image[b, :n] = cells, at, image
        out.source[b, offsets[b] : offsets[b] + len(source)] = source
    return out


class _Order(NamedTuple):
    """Determines the rows of every batch, on any number of processes."""

    rows: int
    batch_size: int
    seed: int | None
    remainder: str


def check_batch(rows: int, size: int, least: int | None = None) -> None:
    """Raises if there are fewer rows than `least`, by default than a batch has."""
    if rows < (size if least is None else least):
        raise ValueError(
            f"{rows} rows cannot fill a batch of {size}: lower the batch size or give more data"
        )


class Stream(Generic[T]):
    """An iterator whose state is one small JSON object; made by `stream` and `batches`.

    Two streams in the same state give the same items. The state does not depend on the process.
    """

    def __init__(
        self,
        order: _Order,
        epochs: int | None,
        mine: np.ndarray | None,
        load: Callable[[list[int], list[int]], T],
    ):
        """Items are `load(batch, part)`: row indices of a batch and of this process, -1: no row."""
        size, drop = order.batch_size, order.remainder == "drop"
        check_batch(order.rows, size, None if drop else 1)
        local = range(size) if mine is None else [int(i) for i in mine]

        def load_part(indices: np.ndarray) -> T:
            whole = [int(i) for i in indices]
            filled = whole + [-1] * (size - len(whole))
            return load(whole, [filled[i] for i in local])

        indices = grain.MapDataset.range(order.rows)
        if order.seed is not None:
            indices = indices.seed(order.seed).shuffle()
        epoch = indices.batch(size, drop_remainder=drop)
        # a short read-ahead: a batch of 7B rows with their images is tens of megabytes
        options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
        self._iterator = iter(epoch.repeat(epochs).map(load_part).to_iter_dataset(options))
        self._order = order
        self.epoch_steps = len(epoch)
        """Batches in one pass over the data."""

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return next(self._iterator)

    def get_state(self) -> dict[str, Any]:
        """The state before the next batch: plain numbers and names."""
        return {**self._order._asdict(), "next": self._iterator.get_state()["next_index"]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues from a state that `get_state` returned.

        Raises:
            ValueError: the state belongs to other data or another order.
        """
        for name, value in self._order._asdict().items():
            if state.get(name) != value:
                raise ValueError(
                    f"the saved position in the data has {name} {state.get(name)}, this run has "
                    f"{value}: resume with the data and batch size it was saved with"
                )
        self._iterator.set_state({"next_index": state["next"]})


def stream(
    items: Sequence[T],
    batch_size: int,
    *,
    seed: int | None,
    epochs: int | None = None,
    remainder: Remainder = "drop",
    mine: np.ndarray | None = None,
) -> Stream[list[T | None]]:
    """Streams this process's part of batches of `batch_size` items over all processes.

    The part is the items at the indices `mine` of a batch, by default the whole batch. Every epoch
    is shuffled anew from `seed`, or keeps the order of `items` if `seed` is None. Without `epochs`
    the stream is endless. The remainder of an epoch is dropped, or filled up with None.

    Raises:
        ValueError: there are fewer items than one batch needs.
    """

    def load(_: list[int], part: list[int]) -> list[T | None]:
        return [None if i < 0 else items[i] for i in part]

    return Stream(_Order(len(items), batch_size, seed, remainder), epochs, mine, load)


def batches(
    source: Source,
    batch_size: int,
    *,
    seed: int | None,
    buckets: Sequence[int],
    slot_buckets: Sequence[int] | None = None,
    side: Literal["left", "right"] = "right",
    epochs: int | None = None,
    remainder: Remainder = "drop",
    mine: np.ndarray | None = None,
) -> Stream[Batch]:
    """Streams padded numpy batches; order and arguments as in `stream`.

    The longest row of a batch, over all processes, chooses its bucket of lengths; the row with the
    most image slots chooses its bucket of slots, by default one for all batches. A filled
    remainder repeats a row, without loss.

    Raises:
        ValueError: as `stream`, or a row is longer than the last bucket.
    """
    longest = int(np.argmax(source.lengths))
    if source.lengths[longest] > buckets[-1]:
        bucket(int(source.lengths[longest]), buckets, source[longest].id)
    slot_buckets = slot_buckets or choose_slots(source.slots)

    def load(whole: list[int], part: list[int]) -> Batch:
        length = bucket(int(source.lengths[whole].max()), buckets, "")
        rows = [source[i] if i >= 0 else _without_loss(source[whole[0]]) for i in part]
        slots = next(n for n in slot_buckets if n >= source.slots[whole].max())
        return pad(rows, length, side, image_slots=slots, image_shape=source.image_shape)

    return Stream(_Order(len(source), batch_size, seed, remainder), epochs, mine, load)


def _without_loss(row: Row) -> Row:
    return row._replace(loss=np.zeros_like(row.loss))
