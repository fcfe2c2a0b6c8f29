"""The picture tokenizer against upstream's arrays, and by hand."""

import json
import pathlib
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax import hf
from mmcot_jax.keytable import slots
from mmcot_jax.models.chameleon.config import VQGANConfig
from mmcot_jax.models.chameleon.keys import vqgan_table
from mmcot_jax.models.chameleon.vqgan import VQGAN, from_pixels, to_pixels

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "vqgan.npz"
SEVEN_B = VQGANConfig()


def wanted(config):
    """Our parameters as shapes, and every upstream tensor they are made of, by name."""
    side = config.resolution
    like = jax.eval_shape(VQGAN(config).init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
    shapes = {("vqgan", *path): x.shape for path, x in hf.flatten(like["params"]).items()}
    groups = slots(vqgan_table(config), shapes)
    return like["params"], {s.name: s.shape for group in groups.values() for s in group}


def load(config, tensors):
    like = {"vqgan": wanted(config)[0]}
    return {"params": hf.load(vqgan_table(config), tensors, like)["vqgan"]}


def apply(config, variables, method, x):
    return np.asarray(jax.jit(lambda v, x: VQGAN(config).apply(v, x, method=method))(variables, x))


def nhwc(x):
    return jnp.asarray(x.transpose(0, 2, 3, 1))


@pytest.mark.reference
def test_codes_and_pixels_are_the_original_s(reference):
    folder = reference / "golden" / "vqgan"
    c = json.loads((folder / "config.json").read_text())
    d = c["ddconfig"]
    config = VQGANConfig(
        ch=d["ch"], ch_mult=tuple(d["ch_mult"]), num_res_blocks=d["num_res_blocks"],
        z_channels=d["z_channels"], embed_dim=c["embed_dim"], codes=c["n_embed"],
        resolution=d["resolution"], groups=c["groupnorm"]["groups"],
    )  # fmt: skip
    io, variables = np.load(folder / "io.npz"), load(config, folder / "weights.safetensors")
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
    assert wanted(SEVEN_B)[1] == {k: tuple(shape) for k, (shape, _) in listed.items()}
    assert [rule.upstream for rule in vqgan_table(SEVEN_B).rules] == list(listed)


def test_the_7b_has_293_tensors_and_68718467_numbers():
    of = wanted(SEVEN_B)[1]
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
    of = wanted(config)[1]
    variables = load(config, {name: golden_weight(name, shape) for name, shape in of.items()})
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
    with pytest.raises(ValueError, match=r"pixel scale is 'half', .*; choose from native, hf"):
        from_pixels(white, scale="half")


def test_a_config_that_does_not_fit_says_so():
    with pytest.raises(ValueError, match=r"\(24, 48\) channels, 32 groups do not divide 24"):
        VQGANConfig(ch=24, ch_mult=(1, 2)).check()
    with pytest.raises(ValueError, match="resolution 30 does not halve 2 times; choose a multiple"):
        VQGANConfig(ch=32, ch_mult=(1, 1, 1), resolution=30).check()
