"""unCLIP against arrays of diffusers, tiny random weights."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax import hf
from mmcot_jax.models.unclip import keys, paint, schedule
from mmcot_jax.models.unclip.config import NoiseConfig, UnclipConfig, UNetConfig, VaeConfig
from mmcot_jax.models.unclip.unet import UNet
from mmcot_jax.models.unclip.vae import Vae

pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def golden(reference):
    return reference / "golden" / "unclip"


@pytest.fixture(scope="module")
def io(golden):
    with np.load(golden / "io.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def c(golden, io):
    given = json.loads((golden / "config.json").read_text())
    unet, vae, noise = given["unet"], given["vae"], given["scheduler"]
    return UnclipConfig(
        unet=UNetConfig(
            unet["in_channels"],
            tuple(unet["block_out_channels"]),
            tuple(x.startswith("CrossAttn") for x in unet["down_block_types"]),
            tuple(unet["attention_head_dim"]),
            unet["layers_per_block"],
            unet["cross_attention_dim"],
            unet["norm_num_groups"],
        ),
        vae=VaeConfig(
            vae["latent_channels"],
            tuple(vae["block_out_channels"]),
            vae["layers_per_block"],
            vae["norm_num_groups"],
            vae["scaling_factor"],
        ),
        noise=NoiseConfig(
            noise["beta_start"],
            noise["beta_end"],
            noise["num_train_timesteps"],
            noise["prediction_type"],
            noise["steps_offset"],
        ),
        embedding=given["embedding_dim"],
        prompt_tokens=io["in_prompt_embeds"].shape[1],
        steps=given["steps"],
        guidance=given["guidance_scale"],
        size=vae["sample_size"],
    )


@pytest.fixture(scope="module")
def params(c, golden):
    shapes = jax.eval_shape(partial(paint.init, c), jax.random.key(0))
    made = {}
    for part in ("unet", "vae"):
        own = {part: shapes[part]}
        table = keys.table(part, {p: x.shape for p, x in hf.flatten(own).items()})
        made |= hf.load(table, golden / f"{part}.safetensors", own)
    norm = hf.read_file(golden / "image_normalizer.safetensors")
    return made | {"normalizer": {n: jnp.asarray(norm[n][0]) for n in ("mean", "std")}}


def close(found, expected, scale):
    """Within `scale` of the largest expected value."""
    atol = scale * float(np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def cells(x):
    return jnp.asarray(np.moveaxis(x, -3, -1))


def channels_first(x):
    return np.moveaxis(np.asarray(x), -1, -3)


@pytest.mark.parametrize("level", [0, 1, 100, 999])
def test_embeddings_are_noised(c, params, io, level):
    given = jnp.asarray(io["in_image_embeds"]), jnp.asarray(io["in_embed_noise"])
    close(paint.noised_label(c, params, *given, level), io[f"out_noised_embeds_level{level}"], 1e-5)
    every = schedule.cosine_alphas_cumprod()
    np.testing.assert_allclose(every, io["out_noising_alphas_cumprod"], atol=1e-6)


@pytest.mark.parametrize("timestep", [1, 401, 981])
def test_one_call_of_the_network(c, params, io, timestep):
    latents = jnp.repeat(cells(io["in_latents"]), 2, axis=0)
    prompt = jnp.repeat(jnp.asarray(io["in_prompt_embeds"]), 2, axis=0)
    given = latents, jnp.full(2, timestep), prompt, jnp.asarray(io["out_noised_embeds_level0"])
    found, made = UNet(c.unet).apply({"params": params["unet"]}, *given, capture_intermediates=True)
    close(channels_first(found), io[f"out_unet_t{timestep}"], 1e-4)
    if timestep != 401:
        return
    made = made["intermediates"]
    down, up = made["down_blocks_0"], made["up_blocks_1"]
    for name, module in {
        "time_embedding": made["time_embedding"],
        "class_embedding": made["class_embedding"],
        "conv_in": made["conv_in"],
        "down0_res0": down["resnets_0"],
        "down0_attn0": down["attentions_0"],
        "down0": down,
        "down1": made["down_blocks_1"],
        "mid": made["mid_block"],
        "up0": made["up_blocks_0"],
        "up1": up,
        "conv_norm_out": made["conv_norm_out"],
    }.items():
        value = module["__call__"][0]
        value = value[0] if isinstance(value, tuple) else value
        value = channels_first(value) if value.ndim == 4 else value
        close(value, io[f"out_unet_t401_{name}"], 1e-4)


@pytest.mark.parametrize("scheduler", ["pndm", "ddim"])
def test_schedules(c, io, scheduler):
    for steps in (5, 20, 50):
        found = schedule.make(c.noise, scheduler, steps)
        np.testing.assert_array_equal(found.timestep, io[f"out_{scheduler}_timesteps_{steps}"])
    every = schedule.alphas_cumprod(c.noise)
    np.testing.assert_allclose(every, io[f"out_{scheduler}_alphas_cumprod"], atol=1e-6)
    steps = schedule.make(c.noise, scheduler, c.steps)
    x = first = cells(io["in_latents"])
    before = jnp.zeros((3, *x.shape))
    for i, expected in enumerate(io[f"out_{scheduler}_steps_given_outputs"]):
        s = jax.tree.map(lambda y, i=i: jnp.asarray(y[i]), steps)
        out = cells(io["in_fake_model_outputs"][i])
        x, first, before = paint.advance(c, s, out, x, first, before)
        close(channels_first(x), expected, 1e-5)


@pytest.mark.parametrize("scheduler", ["pndm", "ddim"])
@pytest.mark.parametrize("negative", ["", "_negative_image"])
def test_guided_trajectories(c, params, io, scheduler, negative):
    c = c._replace(scheduler=scheduler)
    label = jnp.asarray(io["out_noised_embeds_level0"][:1])
    against = None
    if negative:
        given = io["in_negative_image_embeds"], io["in_negative_embed_noise"]
        against = paint.noised_label(c, params, *map(jnp.asarray, given), 0)
    params = params | {"prompt": jnp.asarray(io["in_prompt_embeds"][0])}
    run = jax.jit(partial(paint.denoise, c))
    negative_prompt = jnp.asarray(io["in_negative_prompt_embeds"][0])
    x, every, outs = run(params, label, cells(io["in_latents"]), against, negative_prompt)
    close(channels_first(every), io[f"out_{scheduler}{negative}_trajectory"], 5e-4)
    if not negative:
        close(channels_first(outs), io[f"out_{scheduler}_guided_outputs"], 5e-4)
    image = paint.decode(c, params, x)
    close(channels_first(image), io[f"out_{scheduler}{negative}_image"], 5e-4)


def test_the_autoencoder(c, params, io):
    run = partial(Vae(c.vae).apply, {"params": params["vae"]})
    latents = cells(io["in_vae_latents"]) / c.vae.scale
    decoded = run(latents, method="decode")
    close(channels_first(decoded), io["out_vae_decode_given_latents"], 1e-4)
    mean, log_variance = run(cells(io["in_vae_pixels"]), method="encode")
    close(channels_first(mean), io["out_vae_encode_mean"], 1e-4)
    close(channels_first(log_variance), io["out_vae_encode_logvar"], 1e-4)
