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
