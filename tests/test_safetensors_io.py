import json

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from mmcot_jax import hf, safetensors_io
from mmcot_jax.safetensors_io import Entry

BF16 = np.dtype(ml_dtypes.bfloat16)
F32 = np.dtype(np.float32)


def test_the_library_reads_what_we_write(tmp_path):
    arrays = [np.array([[1.0, 2.0]], np.float32), np.array([3, 4], np.int64)]
    entries = [Entry("a", (1, 2), F32), Entry("b", (2,), np.dtype(np.int64))]
    safetensors_io.write(tmp_path / "x.safetensors", entries, arrays)
    loaded = safetensors.numpy.load_file(tmp_path / "x.safetensors")
    assert loaded["a"].tolist() == [[1.0, 2.0]] and loaded["b"].tolist() == [3, 4]
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_we_read_what_the_library_writes(tmp_path):
    half = np.array([1.5, -0.25], np.float16)
    safetensors.numpy.save_file({"h": half, "flag": np.array([True])}, tmp_path / "x.safetensors")
    read = safetensors_io.read(tmp_path / "x.safetensors")
    assert read["h"].tolist() == [1.5, -0.25] and read["h"].dtype == np.float16
    assert read["flag"].tolist() == [True]


def test_bfloat16_keeps_its_bits(tmp_path):
    bits = np.array([0x3F80, 0x7F80, 0x0001, 0xFFFF], np.uint16)  # 1, inf, smallest, nan
    safetensors_io.write(tmp_path / "x", [Entry("w", (4,), BF16)], [bits.view(BF16)])
    read = safetensors_io.read(tmp_path / "x")["w"]
    assert read.dtype == BF16
    assert read.view(np.uint16).tolist() == bits.tolist()


def test_reading_maps_the_file_and_copies_nothing(tmp_path):
    safetensors_io.write(tmp_path / "x", [Entry("w", (2,), F32)], [np.zeros(2, np.float32)])
    assert not safetensors_io.read(tmp_path / "x")["w"].flags.owndata


def test_a_forgotten_view_reads_the_same_again(tmp_path):
    safetensors_io.write(tmp_path / "x", [Entry("w", (2,), F32)], [np.array([1, 2], F32)])
    view = safetensors_io.read(tmp_path / "x")["w"]
    safetensors_io.forget(view)
    assert view.tolist() == [1.0, 2.0]
    safetensors_io.forget(np.zeros(2))  # not of a file: nothing to give back


def test_a_folder_is_cut_into_shards_of_the_given_size(tmp_path):
    entries = [Entry(name, (2,), F32) for name in "abc"]  # 8 bytes each
    files = safetensors_io.write_folder(
        tmp_path, entries, [np.full(2, i, F32) for i in range(3)], 16
    )
    assert [f.name for f in files] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    index = json.loads(files[-1].read_text())
    assert index["metadata"] == {"total_size": 24}
    assert index["weight_map"] == {"a": files[0].name, "b": files[0].name, "c": files[1].name}
    read = hf.read_folder(tmp_path)
    assert {name: x.tolist() for name, x in read.items()} == {
        "a": [0.0, 0.0],
        "b": [1.0, 1.0],
        "c": [2.0, 2.0],
    }


def test_a_tensor_larger_than_a_shard_has_one_of_its_own(tmp_path):
    entries = [Entry("a", (9,), F32), Entry("b", (1,), F32)]
    files = safetensors_io.write_folder(tmp_path, entries, [np.zeros(9, F32), np.zeros(1, F32)], 16)
    assert len(files) == 3


def test_a_small_model_is_one_file_without_an_index(tmp_path):
    files = safetensors_io.write_folder(tmp_path, [Entry("a", (1,), F32)], [np.ones(1, F32)])
    assert [f.name for f in files] == ["model.safetensors"]
    assert hf.read_folder(tmp_path)["a"].tolist() == [1.0]
    assert hf.read_folder(files[0])["a"].tolist() == [1.0]


def test_a_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors_io.write(path, [Entry("w", (4,), F32)], [np.zeros(4, F32)])
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="is cut short: w ends at byte 16 of 12"):
        safetensors_io.read(path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "it is an empty file"),
        (b"version https://git-lfs.github.com/spec/v1", "it is a Git LFS pointer, not the file"),
        (b"<!DOCTYPE html><html>", "it is an HTML page"),
        (b"GGUF" + bytes(20), "it is a GGUF file"),
        (b'{"error": "not found"}', "it is a JSON file"),
        (b"\x02" + bytes(7) + b"[]", "it is a file that begins with the bytes 02 00"),
        (b"\xff" + bytes(7) + b'{"w": {"dty', "its header is cut short or damaged"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, content, kind):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=f"x.safetensors is no safetensors file .{kind}.*fetch"):
        safetensors_io.read(tmp_path / "x.safetensors")


GOOD = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [2, 4]}, r"w has 24 bytes, \[2, 4\] of F32 need 32"),
        ({"shape": [2**40, 2**40]}, r"w has 24 bytes, .* of F32 need 4835703278458516698824704"),
        ({"shape": [-2, -3]}, r"w has shape \[-2, -3\] and data_offsets \[0, 24\]"),
        ({"shape": "23"}, "w has shape 23 and"),
        ({"data_offsets": [0, 20]}, "w has 20 bytes"),
        ({"data_offsets": [24, 0]}, "w has -24 bytes"),
        ({"data_offsets": [-24, 0]}, r"w has shape .* and data_offsets \[-24, 0\]"),
        ({"data_offsets": [0, 12, 24]}, r"data_offsets \[0, 12, 24\]"),
        ({"data_offsets": [0.0, 24.0]}, r"data_offsets \[0.0, 24.0\]"),
        ({"data_offsets": [24, 48]}, "is cut short: w ends at byte 48 of 24"),
        ({"dtype": None}, "w has dtype None; convert to one of"),
    ],
)
def test_a_header_that_contradicts_itself_names_file_and_tensor(tmp_path, change, message):
    path = raw(tmp_path, {"w": GOOD | change})
    with pytest.raises(ValueError, match=f"{path}.*{message}"):
        safetensors_io.read(path)


def test_a_header_without_a_field_or_with_overlapping_tensors_is_refused(tmp_path):
    for field in GOOD:
        partial = {key: x for key, x in GOOD.items() if key != field}
        with pytest.raises(ValueError, match="header: w needs dtype, shape, data_offsets; fetch"):
            safetensors_io.read(raw(tmp_path, {"w": partial}))
    with pytest.raises(ValueError, match="damaged header: w needs dtype"):
        safetensors_io.read(raw(tmp_path, {"w": [1]}))
    with pytest.raises(ValueError, match="w begins at byte 0, within v, which ends at 24; fetch"):
        safetensors_io.read(raw(tmp_path, {"w": GOOD, "v": GOOD}))


def test_a_damaged_file_is_one_line(tmp_path):
    entries = [Entry("a", (2, 3), F32), Entry("b", (4,), np.dtype(np.int64))]
    path = tmp_path / "x.safetensors"
    safetensors_io.write(path, entries, [np.zeros((2, 3), np.float32), np.zeros(4, np.int64)])
    whole, random, refused = path.read_bytes(), np.random.default_rng(0), 0
    header = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[random.integers(header)] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            safetensors_io.read(path)
        except ValueError as error:
            refused += 1
            assert str(error).startswith(str(path)) and "\n" not in str(error)
    assert refused > 200  # a changed name or a bit of the padding may go unseen


def raw(folder, header):
    """A file of this header and 24 bytes."""
    text = json.dumps(header).encode()
    path = folder / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(24))
    return path


def test_a_dtype_numpy_lacks_is_refused(tmp_path):
    header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(ValueError, match=r"w has dtype F8_E4M3; convert to one of \['F64'"):
        safetensors_io.read(tmp_path / "x")
