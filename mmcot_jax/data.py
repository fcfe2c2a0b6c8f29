"""The order of the data, and rows made into batches: seeded, sliced by process, resumable.

Axes: B rows of this process, M images in a row, T time, A position axes, h w pixels, W windows of
K cells of s x s pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import grain
import numpy as np

from mmcot_jax.example import Example, Row, Windows
from mmcot_jax.types import Batch, Pixels

T = TypeVar("T")
Remainder = Literal["drop", "fill"]


@runtime_checkable
class Source(Protocol):
    """Rows by number, and what has to be known of all of them before the first is read."""

    lengths: np.ndarray
    """int32 [N], tokens of each row."""
    slots: np.ndarray
    """int32 [N], what each row fills: images, or windows of images."""
    image_shape: tuple[int, ...]
    """The one shape of all images, (h, w, 3), or of all windows, (K, s, s, 3); () without any."""

    def __len__(self) -> int:
        """How many rows."""
        ...

    def __getitem__(self, index: int) -> Row:
        """One row."""
        ...


class Rows:
    """A source in memory.

    Raises:
        ValueError: there are no rows, or their images differ in shape.
    """

    def __init__(self, rows: Sequence[Row]):
        if not rows:
            raise ValueError("there are no rows: a source needs at least one")
        self._rows = rows
        self.lengths = np.array([len(row.tokens) for row in rows], np.int32)
        self.slots = np.array([image_slots(row) for row in rows], np.int32)
        self.image_shape = shared_shape(rows)

    def __len__(self) -> int:
        """How many rows."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        """One row."""
        return self._rows[index]


class Rendered:
    """A source whose rows are rendered when they are asked for; only their sizes are kept.

    A hundred thousand photographs do not fit a host. All are rendered once, in threads, to learn
    how large each row is.

    Raises:
        ValueError: there are no examples, their images differ in shape, or one cannot be rendered.
    """

    def __init__(self, examples: Sequence[Example], render: Callable[[Example], Row]):
        if not len(examples):
            raise ValueError("there are no examples: a source needs at least one")
        self._examples, self._render = examples, render
        with ThreadPoolExecutor() as threads:
            sizes = list(threads.map(self._size, range(len(examples))))
        self.lengths = np.array([length for length, _, _ in sizes], np.int32)
        self.slots = np.array([slots for _, slots, _ in sizes], np.int32)
        self.image_shape = next((shape for _, _, shape in sizes if shape), ())
        for number, (_, _, shape) in enumerate(sizes):
            if shape and shape != self.image_shape:
                raise ValueError(_differing(examples[number].id, shape, self.image_shape))

    def _size(self, index: int) -> tuple[int, int, tuple[int, ...]]:
        row = self[index]
        return len(row.tokens), image_slots(row), shared_shape([row])

    def __len__(self) -> int:
        """How many rows."""
        return len(self._examples)

    def __getitem__(self, index: int) -> Row:
        """One row."""
        return self._render(self._examples[index])

    def pair(self, index: int) -> tuple[Example, Row]:
        """One row and what it was rendered from."""
        example = self._examples[index]
        return example, self._render(example)


def image_slots(row: Row) -> int:
    """The slots a row fills: an image each, or a window each of images of any size."""
    return len(row.images) if row.windows is None else len(row.windows.image)


def choose_slots(slots: np.ndarray, count: int = 1) -> tuple[int, ...]:
    """At most `count` ascending numbers of slots that share the rows evenly; the last holds all."""
    quantiles = np.quantile(slots, np.arange(1, count + 1) / count, method="higher")
    return tuple(sorted({int(size) for size in quantiles}))


def shared_shape(rows: Sequence[Row]) -> tuple[int, ...]:
    """The one shape of all images of these rows, or of their windows, or () where there are none.

    Raises:
        ValueError: two images differ in shape.
    """
    shape: tuple[int, ...] = ()
    for row in rows:
        windows = [] if row.windows is None else [row.windows.cells[0]]
        for image in (*row.images, *windows):
            shape = shape or image.shape
            if image.shape != shape:
                raise ValueError(_differing(row.id, image.shape, shape))
    return shape


def _differing(id: str, own: tuple[int, ...], shape: tuple[int, ...]) -> str:
    return (
        f"row {id!r} has an image of shape {own}, the others' is {shape}: "
        "bring the images of a run to one size"
    )


def bucket(length: int, buckets: Sequence[int], row: str) -> int:
    """The smallest of the ascending `buckets`, in tokens, that holds `length`; `row` is its id.

    Raises:
        ValueError: no bucket is large enough.
    """
    for size in buckets:
        if length <= size:
            return size
    raise ValueError(
        f"row {row!r} is {length} tokens long, the limit is {buckets[-1]}: "
        "shorten it, use smaller images, or take a model with a longer context"
    )


def choose_buckets(
    lengths: np.ndarray, limit: int, count: int = 1, multiple: int = 64
) -> tuple[int, ...]:
    """At most `count` ascending lengths, multiples of `multiple`, that share the rows evenly.

    The last one holds the longest row, or is `limit`, the model's context, where that is less.
    """
    quantiles = np.quantile(lengths, np.arange(1, count + 1) / count, method="higher")
    rounded = -(-quantiles.astype(int) // multiple) * multiple
    return tuple(sorted({min(int(size), limit) for size in rounded}))


def pad(
    rows: Sequence[Row],
    length: int,
    side: Literal["left", "right"],
    *,
    image_slots: int | None = None,
    image_shape: tuple[int, ...] = (),
) -> Batch:
    """Rows made equally long, a `Batch` with numpy leaves.

    tokens int32 [B T] padded with 0, positions int32 [A B T], valid and loss bool [B T];
    pixels is `Pixels(uint8 [B M h w 3], int32 [B M])`, `starts` counted in the padded row and -1
    where a slot is empty, or None where M is 0. M is `image_slots`, by default the most any of
    these rows has; `image_shape` is needed where a batch without images has slots. Rows cut into
    windows give `Windows` instead, M of them.

        left:  [0 0 p p p]     right: [p p p 0 0]

    Raises:
        ValueError: a row is longer than `length`, or has more images than slots, images of two
            shapes, or not as many placeholders as its images have cells.
    """
    tokens = np.zeros((len(rows), length), np.int32)
    positions = np.zeros((len(rows[0].positions), len(rows), length), np.int32)
    valid = np.zeros((len(rows), length), bool)
    loss = np.zeros((len(rows), length), bool)
    shift = np.zeros(len(rows), np.int32)
    for b, row in enumerate(rows):
        n = len(row.tokens)
        bucket(n, (length,), row.id)
        shift[b] = length - n if side == "left" else 0
        place = slice(shift[b], shift[b] + n)
        tokens[b, place], positions[:, b, place] = row.tokens, row.positions
        valid[b, place], loss[b, place] = True, row.loss
    pixels = _pixels(rows, shift, image_slots, image_shape, length)
    return Batch(tokens, positions, valid, loss, pixels)


def _pixels(
    rows: Sequence[Row], shift: np.ndarray, slots: int | None, shape: tuple[int, ...], length: int
) -> Pixels | Windows | None:
    filled = [image_slots(row) for row in rows]
    if slots is None:
        slots = max(filled)
    shape = shared_shape(rows) or shape
    for row, own in zip(rows, filled, strict=True):
        if own > slots:
            kind = "images" if row.windows is None else "windows of images"
            raise ValueError(f"row {row.id!r} has {own} {kind}, the limit is {slots}")
    if slots == 0:
        return None
    if len(shape) == len(("K", "s", "s", "3")):
        return _windows(rows, shift, slots, shape, length)
    images = np.zeros((len(rows), slots, *shape), np.uint8)
    starts = np.full((len(rows), slots), -1, np.int32)
    for b, row in enumerate(rows):
        for m, (image, start) in enumerate(zip(row.images, row.starts, strict=True)):
            images[b, m], starts[b, m] = image, start + shift[b]
    return Pixels(images, starts)


def _windows(
    rows: Sequence[Row], shift: np.ndarray, slots: int, shape: tuple[int, ...], length: int
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
        placeholders, there = (source >= 0).sum(), (at[..., 0] >= 0).sum()
        if placeholders != there:
            raise ValueError(
                f"row {row.id!r} has {placeholders} image placeholders and its {row.image_count} "
                f"images have {there} cells: render it anew, and never cut a row inside an image"
            )
        out.cells[b, : len(image)], out.at[b, : len(image)] = cells, at
        out.image[b, : len(image)] = image
        out.source[b, shift[b] : shift[b] + len(source)] = source
    return out


class _Order(NamedTuple):
    """What fixes which rows are in which batch, on any number of processes."""

    rows: int
    batch_size: int
    seed: int | None
    remainder: str


class Stream(Generic[T]):
    """An iterator whose place is one small JSON object; made by `stream` and `batches`.

    Two streams in the same place give the same items, whoever read them before, and the place
    of one process is the place of all.
    """

    def __init__(self, iterator: grain.DatasetIterator, order: _Order, epoch_steps: int):
        self._iterator = iterator
        self._order = order
        self.epoch_steps = epoch_steps
        """Batches in one pass over the data."""

    def __iter__(self) -> Iterator[T]:
        """Itself."""
        return self

    def __next__(self) -> T:
        """This process's part of the next batch."""
        return next(self._iterator)

    def get_state(self) -> dict[str, Any]:
        """The place before the next batch: plain numbers and names."""
        return {**self._order._asdict(), "next": self._iterator.get_state()["next_index"]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go to a place that `get_state` gave.

        Raises:
            ValueError: the place belongs to other data or another order.
        """
        for name, here in self._order._asdict().items():
            if state.get(name) != here:
                raise ValueError(
                    f"the saved place in the data has {name} {state.get(name)}, this run has "
                    f"{here}: resume with the data and batch size it was saved with"
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
    """Items, `batch_size` at a time over all processes, this process's part of each.

    The part is the items at the places `mine` of a batch, by default the whole. Every epoch is
    shuffled anew from `seed`, or keeps the order of `items` where that is None; without `epochs`
    it never ends. What is left at the end of an epoch is dropped, or the batch is filled with None.

    Raises:
        ValueError: a batch cannot be filled once.
    """
    order = _Order(len(items), batch_size, seed, remainder)

    def load(_: list[int], part: list[int]) -> list[T | None]:
        return [None if i < 0 else items[i] for i in part]

    return _open(order, epochs, mine, load)


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
    """Padded batches of numpy; order and arguments as in `stream`.

    A batch is as long as the bucket of its longest row, and has as many image slots as the bucket
    of the row that fills most, by default one for all; the same on every process. A filled
    remainder repeats a row, with nothing to learn from it.

    Raises:
        ValueError: as `stream`, or a row is longer than the last bucket.
    """
    longest = int(np.argmax(source.lengths))
    if source.lengths[longest] > buckets[-1]:
        bucket(int(source.lengths[longest]), buckets, source[longest].id)
    slot_buckets = slot_buckets or choose_slots(source.slots)

    def load(whole: list[int], part: list[int]) -> Batch:
        length = bucket(int(source.lengths[whole].max()), buckets, "")
        rows = [source[i] if i >= 0 else _unlearned(source[whole[0]]) for i in part]
        return pad(
            rows,
            length,
            side,
            image_slots=next(n for n in slot_buckets if n >= source.slots[whole].max()),
            image_shape=source.image_shape,
        )

    order = _Order(len(source), batch_size, seed, remainder)
    return _open(order, epochs, mine, load)


def _unlearned(row: Row) -> Row:
    return row._replace(loss=np.zeros_like(row.loss))


def _open(
    order: _Order,
    epochs: int | None,
    mine: np.ndarray | None,
    load: Callable[[list[int], list[int]], Any],
) -> Stream:
    """`load(whole, part)` has the row numbers of a batch, and this process's, -1 for no row."""
    drop = order.remainder == "drop"
    if order.rows < (order.batch_size if drop else 1):
        raise ValueError(
            f"{order.rows} rows cannot fill a batch of {order.batch_size}: "
            "lower the batch size or give more data"
        )
    places = range(order.batch_size) if mine is None else [int(i) for i in mine]

    def draw(drawn: np.ndarray) -> Any:
        whole = [int(i) for i in drawn]
        filled = whole + [-1] * (order.batch_size - len(whole))
        return load(whole, [filled[i] for i in places])

    numbers = grain.MapDataset.range(order.rows)
    if order.seed is not None:
        numbers = numbers.seed(order.seed).shuffle()
    each = numbers.batch(order.batch_size, drop_remainder=drop)
    # read a little ahead: a batch of 7B rows with their images is tens of megabytes
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    iterator = iter(each.repeat(epochs).map(draw).to_iter_dataset(options))
    return Stream(iterator, order, len(each))
