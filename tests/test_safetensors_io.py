import json
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from mmcot_jax import safetensors_io
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
    read = safetensors_io.read_folder(tmp_path)
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
    assert safetensors_io.read_folder(tmp_path)["a"].tolist() == [1.0]
    assert safetensors_io.read_folder(files[0])["a"].tolist() == [1.0]


def test_a_missing_folder_says_what_is_there_instead(tmp_path):
    (tmp_path / "anole").mkdir()
    with pytest.raises(ValueError, match=r"no weights at .*7b: .* holds anole; download"):
        safetensors_io.read_folder(tmp_path / "anoll" / "7b")


def test_a_folder_without_weights_says_what_it_holds(tmp_path):
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(
        ValueError, match=r"no model\.safetensors .* holds pytorch_model\.bin; down"
    ):
        safetensors_io.read_folder(tmp_path)
    with pytest.raises(ValueError, match=r"no model.*and 2 more"):
        for i in range(11):
            (tmp_path / f"{i}.json").touch()
        safetensors_io.read_folder(tmp_path)


def test_an_index_whose_shards_are_not_there_names_them(tmp_path):
    index = {"weight_map": {"a": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"names model-00002-of-00002\.safetensors, not in"):
        safetensors_io.read_folder(tmp_path)


def test_a_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors_io.write(path, [Entry("w", (4,), F32)], [np.zeros(4, F32)])
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="is cut short: w ends at byte 16 of 12"):
        safetensors_io.read(path)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs", b"\x02" + bytes(7) + b"[]"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="is no safetensors file"):
        safetensors_io.read(tmp_path / "x.safetensors")


def test_a_dtype_numpy_lacks_is_refused(tmp_path):
    header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(ValueError, match=r"w has dtype F8_E4M3; convert to one of \['F64'"):
        safetensors_io.read(tmp_path / "x")


def test_without_torch_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        ValueError, match=r"is a torch pickle: `pip install 'mmcot_jax\[convert\]'`"
    ):
        safetensors_io.read_pickle(tmp_path / "consolidated.pth")


def test_pickles_are_read_bit_for_bit(tmp_path):
    torch = pytest.importorskip("torch")
    whole = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    torch.save({"w": whole, "half": whole.bfloat16() + 0.5}, tmp_path / "consolidated.pth")
    read = safetensors_io.read_pickle(tmp_path / "consolidated.pth")
    np.testing.assert_array_equal(read["w"], np.arange(6.0).reshape(2, 3))
    assert read["half"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(read["half"].astype(np.float32), read["w"] + 0.5)


def test_a_training_checkpoint_is_read_for_its_weights_only(tmp_path):
    torch = pytest.importorskip("torch")
    saved = {"state_dict": {"quant_conv.bias": torch.ones(2)}, "global_step": 7}
    torch.save(saved, tmp_path / "vqgan.ckpt")
    assert safetensors_io.read_pickle(tmp_path / "vqgan.ckpt")["quant_conv.bias"].tolist() == [
        1.0,
        1.0,
    ]


@pytest.mark.parametrize("content", [b"", b"not a pickle"])
def test_a_broken_pickle_is_refused(tmp_path, content):
    pytest.importorskip("torch")
    (tmp_path / "vqgan.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"is no torch checkpoint .*; fetch it again"):
        safetensors_io.read_pickle(tmp_path / "vqgan.ckpt")
