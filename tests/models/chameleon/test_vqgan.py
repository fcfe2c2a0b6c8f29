"""The picture tokenizer against upstream's arrays, and by hand."""

import json
import pathlib
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax.models.chameleon.vqgan import VQGAN, from_pixels, to_pixels
from mmcot_jax.models.chameleon.vqgan_keys import VQGANConfig, upstream_keys

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "vqgan.npz"
SEVEN_B = VQGANConfig()


def tree(config, read):
    """Upstream's tensors, `read` by name, as our parameters."""
    params = {}
    for name, path, transform in upstream_keys(config):
        value = np.asarray(read(name), np.float32)
        node = params
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = value.transpose(2, 3, 1, 0) if transform == "conv" else value
    return {"params": params}


def shapes(config):
    """Upstream name -> its shape, from our own parameters."""
    side = config.resolution
    ours = jax.eval_shape(VQGAN(config).init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
    flat = {
        tuple(k.key for k in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(ours["params"])
    }
    keys = upstream_keys(config)
    assert {path for _, path, _ in keys} == set(flat)
    turn = {"conv": lambda s: (s[3], s[2], s[0], s[1])}
    return {n: turn.get(t, tuple)(flat[path]) for n, path, t in keys}


def apply(config, variables, method, x):
    return np.asarray(jax.jit(lambda v, x: VQGAN(config).apply(v, x, method=method))(variables, x))


def nhwc(x):
    return jnp.asarray(x.transpose(0, 2, 3, 1))


@pytest.mark.reference
def test_codes_and_pixels_are_the_original_s(reference):
    from safetensors.numpy import load_file

    folder = reference / "golden" / "vqgan"
    c = json.loads((folder / "config.json").read_text())
    d = c["ddconfig"]
    config = VQGANConfig(
        d["ch"], tuple(d["ch_mult"]), d["num_res_blocks"], d["z_channels"], c["embed_dim"],
        c["n_embed"], d["resolution"],
    )  # fmt: skip
    io, weights = np.load(folder / "io.npz"), load_file(folder / "weights.safetensors")
    variables = tree(config, weights.pop)
    assert not weights
    z = apply(config, variables, "latents", nhwc(io["in_pixels"]))
    np.testing.assert_allclose(z, nhwc(io["out_z_prequant"]), atol=1e-4)
    codes = apply(config, variables, "encode", nhwc(io["in_pixels"]))
    assert codes.tolist() == io["out_codes"].tolist()
    drawn = apply(config, variables, "decode", jnp.asarray(codes))
    np.testing.assert_allclose(drawn, nhwc(io["out_decoded"]), atol=1e-4)
    levels = np.asarray(to_pixels(jnp.asarray(drawn))).astype(int)
    assert abs(levels - io["out_decoded_uint8"]).max() <= 1
    drawn = apply(config, variables, "decode", jnp.asarray(io["in_random_codes"]))
    np.testing.assert_allclose(drawn, nhwc(io["out_decoded_random_codes"]), atol=1e-4)


@pytest.mark.reference
def test_every_upstream_key_has_its_place_and_shape(reference):
    listed = json.loads((reference / "golden/keys/chameleon_vqgan.json").read_text())["keys"]
    assert shapes(SEVEN_B) == {k: tuple(shape) for k, (shape, _) in listed.items()}
    assert [name for name, _, _ in upstream_keys(SEVEN_B)] == list(listed)


def test_the_7b_has_293_tensors_and_68718467_numbers():
    of = shapes(SEVEN_B)
    assert len(of) == 293
    assert sum(np.prod(s, dtype=int) for s in of.values()) == 68718467
    assert of["encoder.down.4.block.0.nin_shortcut.weight"] == (512, 256, 1, 1)
    assert of["decoder.up.3.upsample.conv.weight"] == (256, 256, 3, 3)
    assert (SEVEN_B.factor, SEVEN_B.grid, SEVEN_B.image_len) == (16, 32, 1024)


def golden_weight(name, shape):
    """As `tests/golden/make_vqgan.py` draws it: a tensor is a function of its name."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    scale = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
    value = random.standard_normal(shape) * scale
    return (value + ("norm" in name and name.endswith("weight"))).astype(np.float32)


def test_codes_and_pixels_are_those_of_the_committed_golden():
    io = np.load(GOLDEN)
    config = VQGANConfig(32, (1, 2), 1, 24, 20, 96, 16)
    of = shapes(config)
    variables = tree(config, lambda name: golden_weight(name, of[name]))
    z = apply(config, variables, "latents", nhwc(io["pixels"]))
    np.testing.assert_allclose(z, nhwc(io["latents"]), atol=1e-4)
    codes = apply(config, variables, "encode", nhwc(io["pixels"]))
    assert codes.tolist() == io["codes"].tolist()
    drawn = apply(config, variables, "decode", jnp.asarray(codes))
    np.testing.assert_allclose(drawn, nhwc(io["decoded"]), atol=1e-4)


def test_pixels_are_truncated_and_clamped():
    x = jnp.array([-1.2, -1.0, 0.0, 0.999, 1.0, 1.3]).reshape(1, 1, 2, 3)
    assert to_pixels(x).ravel().tolist() == [0, 0, 127, 254, 255, 255]


def test_scales_of_the_two_releases():
    white = jnp.full((1, 1, 1, 3), 255, jnp.uint8)
    assert from_pixels(white).ravel().tolist() == [1, 1, 1]
    np.testing.assert_allclose(from_pixels(white, scale="hf").ravel(), [0.989] * 3, atol=1e-6)
    with pytest.raises(ValueError, match="pixel scale 'half' is not known; choose native or hf"):
        from_pixels(white, scale="half")


def test_a_config_that_does_not_fit_says_so():
    with pytest.raises(ValueError, match=r"\(24, 48\) channels, 32 groups do not divide 24"):
        VQGANConfig(ch=24, ch_mult=(1, 2)).check()
    with pytest.raises(ValueError, match="resolution 30 does not halve 2 times; choose a multiple"):
        VQGANConfig(ch=32, ch_mult=(1, 1, 1), resolution=30).check()
