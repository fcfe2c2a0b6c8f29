import argparse
import sys

import ml_dtypes
import numpy as np
import pytest

from mmcot_jax import hf, torch_io


def test_without_torch_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "consolidated.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(
        ValueError, match=r"is a torch pickle: `pip install 'mmcot_jax\[convert\]'`"
    ):
        torch_io.read(tmp_path / "consolidated.pth")


def test_pickles_are_read_bit_for_bit(tmp_path):
    torch = pytest.importorskip("torch")
    whole = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    torch.save({"w": whole, "half": whole.bfloat16() + 0.5}, tmp_path / "consolidated.pth")
    read = torch_io.read(tmp_path / "consolidated.pth")
    np.testing.assert_array_equal(read["w"], np.arange(6.0).reshape(2, 3))
    assert read["half"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(read["half"].astype(np.float32), read["w"] + 0.5)


def test_a_training_checkpoint_is_read_for_its_weights_only(tmp_path):
    torch = pytest.importorskip("torch")
    saved = {"state_dict": {"quant_conv.bias": torch.ones(2)}, "global_step": 7}
    torch.save(saved, tmp_path / "vqgan.ckpt")
    assert torch_io.read(tmp_path / "vqgan.ckpt")["quant_conv.bias"].tolist() == [
        1.0,
        1.0,
    ]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file"),
        (b"not a pickle", "a text file that begins 'not a pickle'"),
        (b"<html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer, not the file"),
        (bytes([10, 0, 0, 0, 0, 0, 0, 0]) + b"{}", "a safetensors file"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_its_kind(tmp_path, content, kind):
    (tmp_path / "vqgan.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"vqgan.ckpt is {kind}.*, no torch checkpoint; fetch it"):
        torch_io.read(tmp_path / "vqgan.ckpt")


@pytest.fixture
def save(tmp_path):
    """Saves with torch; returns the path."""
    torch = pytest.importorskip("torch")

    def save(value, **options):
        torch.save(value, tmp_path / "pytorch_model.bin", **options)
        return tmp_path / "pytorch_model.bin"

    return torch, save


def test_the_format_before_torch_1_6_is_read_too(save):
    torch, save = save
    tensors = {"w": torch.arange(6.0).reshape(2, 3), "half": torch.ones(2).bfloat16()}
    read = torch_io.read(save(tensors, _use_new_zipfile_serialization=False))
    assert read["w"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert read["half"].dtype == ml_dtypes.bfloat16


def test_parameters_are_read_and_a_training_checkpoints_model_is_found(save):
    torch, save = save
    weight = torch.nn.Parameter(torch.ones(2))
    assert torch_io.read(save({"w": weight}))["w"].tolist() == [1.0, 1.0]
    assert torch_io.read(save({"model": {"w": weight}, "step": 3})).keys() == {"w"}


def test_a_pickle_of_something_else_says_what_it_holds(save):
    torch, save = save
    ones = torch.ones(2)
    for value, holds in (
        ([ones], "list"),
        (ones, "Tensor"),
        (torch.nn.Parameter(ones), "Parameter"),
        ({"step": 3, "loss": 0.1}, "a dict of step, loss"),
        ({}, "a dict of nothing"),
    ):
        with pytest.raises(ValueError, match=rf"\.bin holds {holds}, not weights by name; save"):
            torch_io.read(save(value))


def test_a_pickle_with_objects_beside_the_weights_names_their_class(save):
    torch, save = save
    for extra, name in (
        (argparse.Namespace(lr=1e-3), "argparse.Namespace"),
        (np.float64(0.5), r"numpy\._?core.multiarray.scalar"),
        (torch.nn.Linear(2, 2), r"torch.nn.modules.linear.Linear"),
    ):
        path = save({"w": torch.ones(2), "extra": extra})
        with pytest.raises(ValueError, match=rf"\.bin holds {name} beside its weights") as error:
            torch_io.read(path)
        assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_tensors_that_numpy_lacks_are_refused_by_name(save):
    torch, save = save
    with pytest.raises(ValueError, match=r"\.bin: w is torch.float8_e4m3fn; give weights in"):
        torch_io.read(save({"w": torch.ones(2).to(torch.float8_e4m3fn)}))
    with pytest.raises(ValueError, match=r"\.bin: w is torch.sparse_coo torch.float32; give"):
        torch_io.read(save({"w": torch.ones(2, 2).to_sparse()}))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_file_is_one_line(save, zipped):
    torch, save = save
    path = save({"w": torch.arange(500.0)}, _use_new_zipfile_serialization=zipped)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged[: random.choice([len(whole), random.integers(1, len(whole))])])
        try:
            torch_io.read(path)
        except ValueError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)


@pytest.mark.parametrize("length", [128, 640, 896, 1152])
def test_a_safetensors_file_is_no_pickle_whatever_its_headers_length(tmp_path, length):
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
    data = length.to_bytes(8, "little") + header + np.float32(1.5).tobytes()
    assert data[:1] == b"\x80"  # 640 has the second byte of a pickle too
    (tmp_path / "model.safetensors").write_bytes(data)
    assert hf.read_file(tmp_path / "model.safetensors")["a"].tolist() == [1.5]
