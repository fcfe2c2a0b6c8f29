"""Rows written to a store come back as they were."""

import subprocess
import sys

import numpy as np
import pytest
from helpers.disk import largest_file

from mmcot_jax import data, errors, store
from mmcot_jax.example import Row

PRINT = {"tokenizer": "aa", "vqgan": "bb", "task": "color_grid x 5"}


def rows(count: int, axes: int = 1) -> list[Row]:
    return [
        Row(
            f"grid {i} é",
            np.arange(i, 2 * i + 1, dtype=np.int32),
            np.arange(axes * (i + 1), dtype=np.int32).reshape(axes, -1),
            np.arange(i + 1) % 2 == 0,
        )
        for i in range(count)
    ]


def same(a: Row, b: Row) -> bool:
    arrays = ("tokens", "positions", "loss")
    return (a.id, a.images, a.starts) == (b.id, b.images, b.starts) and all(
        np.array_equal(getattr(a, name), getattr(b, name))
        and getattr(a, name).dtype == getattr(b, name).dtype
        for name in arrays
    )


@pytest.mark.parametrize("axes", [1, 3])
def test_rows_come_back_in_order_and_unchanged(tmp_path, axes):
    written = rows(11, axes)
    store.write(tmp_path / "s", iter(written), shards=3, fingerprint=PRINT)
    read = store.open(tmp_path / "s", PRINT)
    assert len(read) == 11
    assert read.lengths.tolist() == list(range(1, 12))
    assert all(same(a, read[i]) for i, a in enumerate(written))
    assert len(list((tmp_path / "s").rglob("*array_record*"))) == 3


def test_a_store_of_fewer_rows_than_shards_has_a_row_in_each(tmp_path):
    store.write(tmp_path / "s", rows(3), shards=64, fingerprint=PRINT)
    assert len(store.open(tmp_path / "s", PRINT)) == 3
    assert len(list((tmp_path / "s").rglob("*array_record*"))) == 3


def test_a_store_that_fails_leaves_nothing_and_can_be_repeated(tmp_path, capsys):
    def broken():
        yield from rows(3)
        raise ValueError("the fourth")

    with pytest.raises(ValueError, match="the fourth"):
        store.write(tmp_path / "s", broken(), shards=1, fingerprint=PRINT)
    with largest_file(2000):
        written = errors.run_command(
            lambda: store.write(tmp_path / "s", rows(200), shards=1, fingerprint=PRINT)
        )
    assert written == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert "error: " in err and ": File too large: raise the limit of a file's size" in err
    assert list((tmp_path / "s").iterdir()) == []
    store.write(tmp_path / "s", rows(3), shards=1, fingerprint=PRINT)
    assert capsys.readouterr().out == f"{tmp_path / 's'}: 3 rows\n"
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["rows"]


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, lambda p: p.write_bytes(b""), lambda p: p.unlink()])
@pytest.mark.parametrize("file", ["rows-train.array_record-00001*", "*info.json", "metadata.json"])
def test_a_damaged_store_is_one_line_before_training(tmp_path, capsys, damage, file):
    store.write(tmp_path / "s", rows(200), shards=3, fingerprint=PRINT)
    (path,) = (tmp_path / "s/rows/1.0.0").glob(file)
    damage(path)

    def read():
        source = store.open(tmp_path / "s", PRINT)
        for n in range(len(source)):
            source[n]

    assert errors.run_command(read) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("error: ") and str(tmp_path / "s") in line


def test_a_missing_or_cut_file_of_a_store_is_found_when_it_is_opened(tmp_path):
    store.write(tmp_path / "s", rows(200), shards=3, fingerprint=PRINT)
    cut(next((tmp_path / "s/rows/1.0.0").glob("*array_record-00002*")))
    with pytest.raises(ValueError, match=r"is damaged \(.*\): copy it again, or prepare it anew"):
        store.open(tmp_path / "s", PRINT)


def test_a_store_and_memory_give_the_same_batches(tmp_path):
    store.write(tmp_path / "s", rows(9), shards=2, fingerprint=PRINT)
    sources = [store.open(tmp_path / "s", PRINT), data.Rows(rows(9))]
    assert all(isinstance(source, data.Source) for source in sources)
    ours, theirs = (list(data.batches(s, 4, seed=2, buckets=(4, 16), epochs=2)) for s in sources)
    assert len(ours) == 4
    assert all(np.array_equal(a.tokens, b.tokens) for a, b in zip(ours, theirs, strict=True))


def test_another_fingerprint_is_refused_and_says_what_differs(tmp_path):
    store.write(tmp_path / "s", rows(2), shards=1, fingerprint=PRINT)
    with pytest.raises(ValueError, match=r"another kind: vqgan is bb there and cc here$"):
        store.open(tmp_path / "s", {**PRINT, "vqgan": "cc"})


def test_a_missing_store_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere holds no prepared store"):
        store.open(tmp_path / "nowhere", PRINT)


def test_a_store_is_never_written_over(tmp_path):
    store.write(tmp_path / "s", rows(2), shards=1, fingerprint=PRINT)
    with pytest.raises(ValueError, match="s holds a store"):
        store.write(tmp_path / "s", rows(3), shards=1, fingerprint=PRINT)


def test_rows_with_images_and_no_rows_are_refused(tmp_path):
    drawn = rows(1)[0]._replace(images=(np.zeros((2, 2, 3), np.uint8),), starts=(0,))
    with pytest.raises(ValueError, match="row 'grid 0 é' has 1 images"):
        store.write(tmp_path / "s", [drawn], shards=1, fingerprint=PRINT)
    with pytest.raises(ValueError, match="holds no prepared store"):
        store.open(tmp_path / "s", PRINT)
    with pytest.raises(ValueError, match="there are no rows"):
        store.write(tmp_path / "t", [], shards=1, fingerprint=PRINT)


def test_no_tensorflow_is_loaded():
    code = "import sys, mmcot_jax.store; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
