"""Padding, buckets, the order of the data, and resuming from a saved state."""

import json
from functools import partial

import numpy as np
import pytest

from mmcot_jax import data
from mmcot_jax.errors import TooLong
from mmcot_jax.example import Example, Row, Windows

IMAGE = np.full((2, 2, 3), 7, np.uint8)


def row(id: str, length: int, starts: tuple[int, ...] = ()) -> Row:
    tokens = np.arange(10, 10 + length, dtype=np.int32)
    positions = np.arange(length, dtype=np.int32)[None]
    return Row(id, tokens, positions, tokens > 10, (IMAGE,) * len(starts), starts)


def numbered(count: int) -> data.Rows:
    """Row i has i + 1 tokens, so its length identifies it."""
    return data.Rows([row(str(i), i + 1) for i in range(count)])


def lengths(batch) -> list[int]:
    return batch.valid.sum(1).tolist()


def test_right_padding_puts_the_row_first():
    batch = data.pad([row("a", 3), row("b", 1)], 4, "right")
    assert batch.tokens.tolist() == [[10, 11, 12, 0], [10, 0, 0, 0]]
    assert batch.positions.tolist() == [[[0, 1, 2, 0], [0, 0, 0, 0]]]
    assert batch.valid.tolist() == [[True, True, True, False], [True, False, False, False]]
    assert batch.loss.tolist() == [[False, True, True, False], [False] * 4]
    assert batch.pixels is None
    assert batch.tokens.dtype == batch.positions.dtype == np.int32


def test_left_padding_puts_the_row_last_and_moves_its_images():
    batch = data.pad([row("a", 3, (0, 2)), row("b", 4, (1,))], 5, "left")
    assert batch.tokens.tolist() == [[0, 0, 10, 11, 12], [0, 10, 11, 12, 13]]
    assert batch.positions.tolist() == [[[0, 0, 0, 1, 2], [0, 0, 1, 2, 3]]]
    assert batch.valid.tolist() == [[False, False, True, True, True], [False] + [True] * 4]
    assert batch.pixels.starts.tolist() == [[2, 4], [2, -1]]
    assert batch.pixels.images.shape == (2, 2, 2, 2, 3)
    assert batch.pixels.images[:, :, 0, 0, 0].tolist() == [[7, 7], [7, 0]]


def test_three_position_axes_are_carried():
    positions = np.array([[0, 1], [0, 5], [0, 9]], np.int32)
    batch = data.pad([row("a", 2)._replace(positions=positions)], 3, "right")
    assert batch.positions[:, 0].tolist() == [[0, 1, 0], [0, 5, 0], [0, 9, 0]]


def test_a_batch_without_images_keeps_its_slots():
    batch = data.pad([row("a", 2)], 2, "right", image_slots=2, image_shape=(4, 4, 3))
    assert batch.pixels.images.shape == (1, 2, 4, 4, 3)
    assert batch.pixels.starts.tolist() == [[-1, -1]]


def windowed(id: str, tokens: int, cells: tuple[int, ...]) -> Row:
    """A row with one image per window of two cells, the first `cells` of them used."""
    at = np.array([[[0, i] if i < n else [-1, -1] for i in range(2)] for n in cells], np.int32)
    source = np.full(tokens, -1, np.int32)
    there = np.flatnonzero(at[..., 0].ravel() >= 0)
    source[1 : 1 + len(there)] = there
    pixels = np.full((len(cells), 2, 4, 4, 3), 5, np.uint8)
    windows = Windows(pixels, at, np.arange(len(cells), dtype=np.int32), source)
    return row(id, tokens)._replace(windows=windows)


def test_windows_fill_slots_and_their_tokens_move_with_the_row():
    rows = [windowed("a", 4, (2, 1)), row("b", 2), windowed("c", 3, (1,))]
    left = data.pad(rows, 5, "left", image_slots=3).pixels
    assert left.cells.shape == (3, 3, 2, 4, 4, 3)
    assert left.image.tolist() == [[0, 1, -1], [-1] * 3, [0, -1, -1]]
    assert left.source.tolist() == [[-1, -1, 0, 1, 2], [-1] * 5, [-1, -1, -1, 0, -1]]
    assert left.at[0, :, :, 1].tolist() == [[0, 1], [0, -1], [-1, -1]]
    assert left.cells[:, :, 0, 0, 0, 0].tolist() == [[5, 5, 0], [0, 0, 0], [5, 0, 0]]
    right = data.pad(rows, 5, "right").pixels
    assert right.source.tolist() == [[-1, 0, 1, 2, -1], [-1] * 5, [-1, 0, -1, -1, -1]]
    assert right.cells.shape[1] == 2


def test_a_batch_of_words_alone_keeps_its_empty_windows():
    shape = (2, 4, 4, 3)
    out = data.pad([row("b", 2)], 3, "left", image_slots=2, image_shape=shape).pixels
    assert out.cells.shape == (1, 2, *shape)
    assert out.image.tolist() == [[-1, -1]] and out.source.tolist() == [[-1] * 3]


def test_a_row_with_more_cells_than_placeholders_is_named():
    cut = windowed("late", 4, (2, 1))
    cut.windows.source[3] = -1
    with pytest.raises(
        ValueError, match=r"row 'late' has 2 image placeholders and its 2 images have 3 cells: rend"
    ):
        data.pad([cut], 4, "left")


def test_too_many_windows_are_named():
    with pytest.raises(ValueError, match="row 'a' has 2 windows of images, the limit is 1"):
        data.pad([windowed("a", 4, (2, 1))], 4, "left", image_slots=1)


def test_windows_count_as_slots():
    source = data.Rows([row("b", 2), windowed("a", 4, (2, 1))])
    assert (source.slots.tolist(), source.image_shape) == ([0, 2], (2, 4, 4, 3))
    assert [r.image_count for r in (source[0], source[1], row("c", 2, (0,)))] == [0, 2, 1]


def test_rows_may_be_rendered_each_time_they_are_read():
    seen = []

    def render(example):
        seen.append(example.id)
        return windowed(example.id, 5, (1,) * int(example.answer))

    examples = [Example(str(n), (), str(n)) for n in (1, 3, 2)]
    source = data.Rendered(examples, render)
    assert isinstance(source, data.Source)
    assert sorted(seen) == ["1", "2", "3"]
    assert source.lengths.tolist() == [5, 5, 5] and source.slots.tolist() == [1, 3, 2]
    assert (len(source), source.image_shape) == (3, (2, 4, 4, 3))
    example, rendered = source.question(1)
    assert (example.id, rendered.id, source[2].id) == ("3", "3", "2")
    assert len(seen) == 5


def test_a_question_reads_its_example_once():
    """Examples of photographs decode them when they are indexed."""

    class Photographs(list):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    read = []
    render = lambda example: row(example.id, int(example.answer))  # noqa: E731
    source = data.Rendered(Photographs([Example("a", (), "3"), Example("b", (), "5")]), render)
    read.clear()
    assert source.question(1).row.id == "b" and read == [1]


def test_sizes_are_learned_without_pixels_where_the_examples_can():
    class Photographs(list):
        def sized(self, index):
            return self[index]._replace(extra={"blank": True})

    seen = []

    def render(example):
        seen.append("blank" in example.extra)
        return row(example.id, int(example.answer))

    source = data.Rendered(Photographs([Example("a", (), "3"), Example("b", (), "5")]), render)
    assert source.lengths.tolist() == [3, 5] and seen == [True, True]
    assert len(source[1].tokens) == 5 and seen[2:] == [False]


def test_rows_that_are_left_out_do_not_make_the_others_be_read_again():
    class Photographs(list):
        def sized(self, index):
            return self[index]._replace(extra={"blank": True})

    def render(example):
        seen.append("blank" in example.extra)
        if example.id == "long":
            raise TooLong("long")
        return row(example.id, int(example.answer))

    seen = []
    examples = Photographs(Example(x, (), "3") for x in ("a", "long", "b"))
    kept = data.Rendered(examples, render, lambda errors, count: None).examples
    assert [x.id for x in kept] == ["a", "b"]
    assert data.Rendered(kept, render).lengths.tolist() == [3, 3]
    assert seen == [True] * 5


def test_examples_that_render_to_two_shapes_and_none_are_refused():
    def render(example):
        image = np.zeros((int(example.answer), 2, 3), np.uint8)
        return row(example.id, 3)._replace(images=(image,), starts=(0,))

    with pytest.raises(ValueError, match=r"row 'b' has an image of shape \(4, 2, 3\), the others'"):
        data.Rendered([Example("a", (), "2"), Example("b", (), "4")], render)
    with pytest.raises(ValueError, match="there are no rows"):
        data.Rendered([], render)


def test_slot_buckets_are_chosen_from_the_rows():
    assert data.choose_slots(np.array([3, 1, 9])) == (9,)
    assert data.choose_slots(np.array([1, 2, 3, 40]), count=2) == (3, 40)
    assert data.choose_slots(np.array([0, 0])) == (0,)


def test_batches_have_the_slots_of_their_bucket():
    source = data.Rows([windowed(str(n), 8, (1,) * n) for n in (1, 1, 2, 5)])
    batches = partial(data.batches, source, 2, seed=None, buckets=(8,), epochs=1)
    assert [b.pixels.image.shape[1] for b in batches()] == [5, 5]
    assert [b.pixels.image.shape[1] for b in batches(slot_buckets=(2, 5))] == [2, 5]


def test_a_row_too_long_is_named():
    with pytest.raises(ValueError, match="row 'late' is 5 tokens long, the limit is 4"):
        data.pad([row("early", 2), row("late", 5)], 4, "right")


def test_too_many_images_are_named():
    with pytest.raises(ValueError, match="row 'a' has 2 images, the limit is 1"):
        data.pad([row("a", 3, (0, 1))], 4, "right", image_slots=1)


def test_images_of_two_shapes_are_named():
    other = row("b", 3, (0,))._replace(images=(np.zeros((4, 2, 3), np.uint8),))
    with pytest.raises(ValueError, match=r"row 'b' has an image of shape \(4, 2, 3\)"):
        data.Rows([row("a", 3, (0,)), other])


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="there are no rows"):
        data.Rows([])


def test_a_bucket_is_the_smallest_that_holds_the_row():
    assert [data.bucket(n, (64, 128), "a") for n in (1, 64, 65, 128)] == [64, 64, 128, 128]
    with pytest.raises(ValueError, match="row 'a' is 129 tokens long, the limit is 128"):
        data.bucket(129, (64, 128), "a")


def test_buckets_are_chosen_from_the_lengths():
    assert data.choose_buckets(np.array([1, 70, 130]), limit=4096) == (192,)
    assert data.choose_buckets(np.array([1, 70, 130]), limit=100) == (100,)
    assert data.choose_buckets(np.array([10, 20, 30, 200]), limit=4096, count=2) == (64, 256)


def test_batches_have_the_length_of_their_bucket():
    source = numbered(4)
    found = data.batches(source, 2, seed=None, buckets=(2, 8), epochs=1)
    assert [batch.tokens.shape for batch in found] == [(2, 2), (2, 8)]


def test_a_row_longer_than_the_last_bucket_is_refused_before_the_first_batch():
    with pytest.raises(ValueError, match="row '4' is 5 tokens long, the limit is 4"):
        data.batches(numbered(5), 2, seed=0, buckets=(2, 4))


def test_every_epoch_has_every_row_once_in_another_order():
    found = data.batches(numbered(6), 2, seed=3, buckets=(8,), epochs=2)
    assert found.epoch_steps == 3
    seen = [n for batch in found for n in lengths(batch)]
    assert sorted(seen[:6]) == sorted(seen[6:]) == [1, 2, 3, 4, 5, 6]
    assert seen[:6] != seen[6:]


def test_the_remainder_is_dropped_each_epoch():
    found = data.batches(numbered(5), 2, seed=0, buckets=(8,), epochs=2)
    seen = [lengths(batch) for batch in found]
    assert len(seen) == 4 and found.epoch_steps == 2
    assert len({*seen[0], *seen[1]}) == 4


def test_a_filled_remainder_repeats_a_row_without_loss():
    found = data.batches(numbered(3), 2, seed=None, buckets=(4,), epochs=1, remainder="fill")
    first, last = found
    assert lengths(first) == [1, 2] and lengths(last) == [3, 3]
    assert last.loss.sum(1).tolist() == [2, 0]


def test_a_stream_fills_with_none():
    found = data.stream("abc", 2, seed=None, epochs=1, remainder="fill")
    assert list(found) == [["a", "b"], ["c", None]]


@pytest.mark.parametrize("places", [([0, 1], [2, 3]), ([0, 2], [1, 3]), ([0], [1], [2], [3])])
def test_the_parts_of_the_processes_are_the_whole_batch(places):
    def order(mine=None):
        found = data.batches(
            numbered(9),
            4,
            seed=1,
            buckets=(3, 6, 9),
            epochs=2,
            remainder="fill",
            mine=mine if mine is None else np.array(mine),
        )
        return list(found)

    whole = order()
    parts = [order(mine) for mine in places]
    assert len(whole) == 6
    for batch, *pieces in zip(whole, *parts, strict=True):
        for mine, piece in zip(places, pieces, strict=True):
            assert np.array_equal(batch.tokens[mine], piece.tokens)
            assert np.array_equal(batch.loss[mine], piece.loss)


@pytest.mark.parametrize("steps", range(8))
def test_resuming_from_any_state_equals_an_uninterrupted_stream(steps):
    def fresh():
        return data.batches(numbered(7), 2, seed=5, buckets=(8,), epochs=3)

    whole = [batch.tokens.tolist() for batch in fresh()]
    before = fresh()
    for _ in range(steps):
        next(before)
    state = json.loads(json.dumps(before.get_state()))
    after = fresh()
    after.set_state(state)
    assert [batch.tokens.tolist() for batch in after] == whole[steps:]


def test_the_state_does_not_depend_on_the_number_of_processes():
    whole = data.stream(range(8), 4, seed=0)
    next(whole)
    part = data.stream(range(8), 4, seed=0, mine=np.array([2, 3]))
    part.set_state(whole.get_state())
    assert next(part) == next(whole)[2:]


def test_the_state_of_other_data_is_refused():
    state = data.stream(range(8), 4, seed=0).get_state()
    with pytest.raises(ValueError, match="has rows 8, this run has 9"):
        data.stream(range(9), 4, seed=0).set_state(state)
    with pytest.raises(ValueError, match="has seed 0, this run has 1"):
        data.stream(range(8), 4, seed=1).set_state(state)


def test_a_batch_that_cannot_be_filled_is_refused():
    with pytest.raises(ValueError, match="3 rows cannot fill a batch of 4"):
        data.stream(range(3), 4, seed=0)
