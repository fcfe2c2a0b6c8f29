import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import released
from helpers.tiny import VQGAN, letters, loud

from mmcot_jax import safetensors_io, torch_io
from mmcot_jax.keytable import slots
from mmcot_jax.models.chameleon import keys, weights
from mmcot_jax.models.chameleon.backbone import Chameleon
from mmcot_jax.models.chameleon.render import ChameleonRenderer
from mmcot_jax.nn.decoder import DecoderConfig

BACKBONE = Chameleon(
    DecoderConfig(vocab=11, width=8, layers=2, heads=2, kv_heads=1, mlp=6, qk_norm=True),
    VQGAN._replace(codes=8, resolution=8),
    ChameleonRenderer(letters(["<unk>"]), 8, 16, 8),
    context=16,
)


@pytest.fixture(scope="module")
def params():
    full = loud(jax.eval_shape(BACKBONE.init, jax.random.key(0)))["params"]
    attention = full["decoder"]["layers"]["attention"]
    for norm in (attention["q_norm"], attention["k_norm"]):  # the original has one for all heads
        norm.update({name: jnp.broadcast_to(x[:, :1], x.shape) for name, x in norm.items()})
    return full


def like(params):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)


def load(folder, params):
    return weights.load(BACKBONE, folder, like(params))


def test_the_hugging_face_layout_goes_out_and_in(tmp_path, params):
    files = weights.save(BACKBONE, params, tmp_path)
    assert [f.name for f in files] == ["model.safetensors", "vqgan.safetensors"]
    names = safetensors_io.read(files[0])
    assert "model.vqmodel.encoder.conv_in.weight" in names
    assert not any(".vqmodel.decoder." in name for name in names)
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path, params), params)


def test_torchs_shards_are_read(tmp_path, params):
    pytest.importorskip("torch")
    weights.save(BACKBONE, params, tmp_path)
    released.as_bin(tmp_path, shards=3)
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path, params), params)


def original(params):
    """What the original release would hold: interleaved q and k, one norm for all heads."""
    table = keys.original_table(BACKBONE.vqgan, heads=2, kv_heads=1)
    leaves = {tuple(k.key for k in p): np.asarray(x) for p, x in jax.tree.leaves_with_path(params)}
    groups = slots(table, {path: x.shape for path, x in leaves.items()})
    return {slot.name: slot.write(leaves[path]) for path, g in groups.items() for slot in g}


def test_the_original_layout_is_read_through_its_pickles(tmp_path, params, monkeypatch):
    tensors = original(params)
    prefix = keys.VQGAN_PREFIX
    files = {
        "consolidated.pth": {n: x for n, x in tensors.items() if not n.startswith(prefix)},
        "vqgan.ckpt": {
            n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)
        }
        | {"loss.logvar": np.zeros(())},
    }
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setattr(torch_io, "read", lambda path: files[path.name])
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path, params), params)


def test_the_original_layout_is_read_with_torch(tmp_path, params):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.tensor(np.array(x)) for name, x in original(params).items()}
    prefix = keys.VQGAN_PREFIX
    (tmp_path / "models/7b").mkdir(parents=True)
    (tmp_path / "tokenizer").mkdir()
    torch.save(
        {n: x for n, x in tensors.items() if not n.startswith(prefix)},
        tmp_path / "models/7b/consolidated.pth",
    )
    vqgan = {n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)}
    torch.save({"state_dict": vqgan}, tmp_path / "tokenizer/vqgan.ckpt")
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path, params), params)


def test_a_folder_without_the_vqgans_decoder_says_where_to_get_it(tmp_path, params):
    weights.save(BACKBONE, params, tmp_path)
    (tmp_path / "vqgan.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has no VQGAN decoder .*tokenizer/vqgan.ckpt there"):
        load(tmp_path, params)


def test_a_vqgan_may_lie_elsewhere(tmp_path, params):
    weights.save(BACKBONE, params, tmp_path)
    (tmp_path / "vqgan.safetensors").rename(tmp_path / "other.safetensors")
    elsewhere = tmp_path / "other.safetensors"
    loaded = weights.load(BACKBONE, tmp_path, like(params), vqgan_file=elsewhere)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    with pytest.raises(ValueError, match=r"no VQGAN at .*nowhere: give the file vqgan.ckpt or"):
        weights.load(BACKBONE, tmp_path, like(params), vqgan_file=tmp_path / "nowhere")


def test_weights_of_another_size_are_refused_by_name(tmp_path, params):
    weights.save(BACKBONE, params, tmp_path)
    other = like(params)
    other["decoder"]["head"]["kernel"] = jax.ShapeDtypeStruct((8, 12), jnp.float32)
    with pytest.raises(
        ValueError, match=r"1 misshapen \(lm_head.weight is \[11 8\], fits \[12 8\]"
    ):
        weights.load(BACKBONE, tmp_path, other)


# --- where a release keeps its files -----------------------------------------------------------


def test_the_releases_layout_is_found(tmp_path):
    assert weights.find_original(tmp_path) is None and weights.find_vqgan(tmp_path) is None
    original, vqgan = tmp_path / "models/7b/consolidated.pth", tmp_path / "tokenizer/vqgan.ckpt"
    for path in (original, vqgan):
        path.parent.mkdir(parents=True)
        path.touch()
    assert weights.find_original(tmp_path) == original
    assert weights.find_vqgan(tmp_path) == vqgan


def test_our_own_vqgan_file_goes_before_the_pickle(tmp_path):
    (tmp_path / "vqgan.ckpt").touch()
    assert weights.find_vqgan(tmp_path) == tmp_path / "vqgan.ckpt"
    (tmp_path / "vqgan.safetensors").touch()
    assert weights.find_vqgan(tmp_path) == tmp_path / "vqgan.safetensors"


def test_a_model_split_over_files_is_refused(tmp_path):
    for i in range(2):
        (tmp_path / f"consolidated.0{i}.pth").touch()
    with pytest.raises(ValueError, match=r"several originals \(consolidated.00.pth, consolidated"):
        weights.find_original(tmp_path)
