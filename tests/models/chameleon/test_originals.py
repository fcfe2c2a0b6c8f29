import sys

import ml_dtypes
import numpy as np
import pytest

from mmcot_jax.models.chameleon import originals


def test_the_releases_layout_is_found(tmp_path):
    assert originals.find(tmp_path) is None and originals.find_vqgan(tmp_path) is None
    weights, vqgan = tmp_path / "models/7b/consolidated.pth", tmp_path / "tokenizer/vqgan.ckpt"
    for path in (weights, vqgan):
        path.parent.mkdir(parents=True)
        path.touch()
    assert originals.find(tmp_path) == weights
    assert originals.find_vqgan(tmp_path) == vqgan


def test_our_own_vqgan_file_goes_before_the_pickle(tmp_path):
    (tmp_path / "vqgan.ckpt").touch()
    assert originals.find_vqgan(tmp_path) == tmp_path / "vqgan.ckpt"
    (tmp_path / "vqgan.safetensors").touch()
    assert originals.find_vqgan(tmp_path) == tmp_path / "vqgan.safetensors"


def test_a_model_split_over_files_is_refused(tmp_path):
    for i in range(2):
        (tmp_path / f"consolidated.0{i}.pth").touch()
    with pytest.raises(ValueError, match=r"several originals \(consolidated.00.pth, consolidated"):
        originals.find(tmp_path)


def test_without_torch_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        ValueError, match=r"is a torch pickle: `pip install 'mmcot_jax\[convert\]'`"
    ):
        originals.read_pickle(tmp_path / "consolidated.pth")


def test_pickles_are_read_bit_for_bit(tmp_path):
    torch = pytest.importorskip("torch")
    whole = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    torch.save({"w": whole, "half": whole.bfloat16() + 0.5}, tmp_path / "consolidated.pth")
    read = originals.read_pickle(tmp_path / "consolidated.pth")
    np.testing.assert_array_equal(read["w"], np.arange(6.0).reshape(2, 3))
    assert read["half"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(read["half"].astype(np.float32), read["w"] + 0.5)


def test_a_training_checkpoint_is_read_for_its_weights_only(tmp_path):
    torch = pytest.importorskip("torch")
    saved = {"state_dict": {"quant_conv.bias": torch.ones(2)}, "global_step": 7}
    torch.save(saved, tmp_path / "vqgan.ckpt")
    assert originals.read_pickle(tmp_path / "vqgan.ckpt")["quant_conv.bias"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("content", [b"", b"not a pickle"])
def test_a_broken_pickle_is_refused(tmp_path, content):
    pytest.importorskip("torch")
    (tmp_path / "vqgan.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"is no torch checkpoint .*; fetch it again"):
        originals.read_pickle(tmp_path / "vqgan.ckpt")
