"""Embeddings to pictures: noise on the embedding, guided steps from noise to latents, pixels.

Axes: N pictures, E channels of the embedding, h w cells, C channels of a cell, H W pixels, T tokens
of the prompt. Parameters are {"unet", "vae", "normalizer": {"mean", "std"} [E], "prompt" [T P]}.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from mmcot_jax.models.unclip import schedule
from mmcot_jax.models.unclip.config import UnclipConfig
from mmcot_jax.models.unclip.unet import UNet, sinusoidal
from mmcot_jax.models.unclip.vae import Vae


def init(c: UnclipConfig, key: Key[Array, ""]) -> dict[str, Any]:
    """Returns random weights; the normaliser is the identity, the prompt zeros."""
    unet_key, vae_key = jax.random.split(key)
    latents = jnp.zeros((1, c.cells, c.cells, c.unet.channels))
    prompt = jnp.zeros((1, c.prompt_tokens, c.unet.prompt_width))
    label = jnp.zeros((1, 2 * c.embedding))
    given = latents, jnp.zeros(1, jnp.int32), prompt, label
    dtype = c.unet.param_dtype
    return {
        "unet": UNet(c.unet).init(unet_key, *given)["params"],
        "vae": Vae(c.vae).init(vae_key, jnp.zeros((1, c.size, c.size, 3)))["params"],
        "normalizer": {"mean": jnp.zeros(c.embedding), "std": jnp.ones(c.embedding)},
        "prompt": jnp.zeros((c.prompt_tokens, c.unet.prompt_width), dtype),
    }


def paint(
    c: UnclipConfig, params: PyTree, embeddings: Float[Array, "N E"], keys: Key[Array, "N"]
) -> UInt8[Array, "N H W 3"]:
    """Paints embeddings of CLIP's image space, each with the noise of its key."""
    shape = (c.cells, c.cells, c.unet.channels)

    def draw(key):
        first, second = jax.random.split(key)
        return jax.random.normal(first, (c.embedding,)), jax.random.normal(second, shape)

    noise, latents = jax.vmap(draw)(keys)
    label = noised_label(c, params, embeddings, noise, c.noise_level)
    return to_pixels(decode(c, params, denoise(c, params, label, latents)[0]))


def noised_label(
    c: UnclipConfig,
    params: PyTree,
    embeddings: Float[Array, "N E"],
    noise: Float[Array, "N E"],
    level: int,
) -> Float[Array, "N L"]:
    """Returns embeddings with noise of a level, and the level as cosines and sines: L = 2 E."""
    mean, std = params["normalizer"]["mean"], params["normalizer"]["std"]
    signal = float(schedule.cosine_alphas_cumprod()[level])
    x = (embeddings - mean) / std
    x = (signal**0.5 * x + (1 - signal) ** 0.5 * noise) * std + mean
    levels = sinusoidal(jnp.full(len(x), level), c.embedding)
    return jnp.concatenate([x, levels], axis=1)


def denoise(
    c: UnclipConfig,
    params: PyTree,
    label: Float[Array, "N L"],
    latents: Float[Array, "N h w C"],
    negative: Float[Array, "N L"] | None = None,
    negative_prompt: Float[Array, "T P"] | None = None,
) -> tuple[Float[Array, "N h w C"], Float[Array, "S N h w C"], Float[Array, "S N h w C"]]:
    """Returns the latents of pictures of a label, from noise, and each step's latents and outputs.

    Guidance leads away from `negative` (None: zeros) under `negative_prompt` (None: the same).
    """
    steps = schedule.make(c.noise, c.scheduler, c.steps)
    n, guided = len(latents), c.guidance > 1
    if guided:
        negative = jnp.zeros_like(label) if negative is None else negative
        label = jnp.concatenate([negative, label])
    prompt = jnp.broadcast_to(params["prompt"], (len(label), *params["prompt"].shape))
    if guided and negative_prompt is not None:
        prompt = prompt.at[:n].set(negative_prompt.astype(prompt.dtype))

    def predict(x: jax.Array, timestep: Int[Array, ""]) -> jax.Array:
        x = jnp.concatenate([x, x]) if guided else x
        given = x, jnp.broadcast_to(timestep, len(x)), prompt, label
        out = UNet(c.unet).apply({"params": params["unet"]}, *given)
        return out[:n] + c.guidance * (out[n:] - out[:n]) if guided else out

    def step(carry, s: schedule.Steps):
        x, first, before = carry
        out = predict(x, s.timestep)
        x, first, before = advance(c, s, out, x, first, before)
        return (x, first, before), (x, out)

    before = jnp.zeros((3, *latents.shape), latents.dtype)
    steps = jax.tree.map(jnp.asarray, steps)
    (x, _, _), (every, outs) = jax.lax.scan(step, (latents, latents, before), steps)
    return x, every, outs


def advance(
    c: UnclipConfig,
    s: schedule.Steps,
    out: Float[Array, "N h w C"],
    x: Float[Array, "N h w C"],
    first: Float[Array, "N h w C"],
    before: Float[Array, "three N h w C"],
) -> tuple[Float[Array, "N h w C"], Float[Array, "N h w C"], Float[Array, "three N h w C"]]:
    """Makes one step from the network's output `out` at x; `s` has that step's numbers.

    `first` are the latents that PNDM's second step starts from, `before` the outputs of the three
    steps before, latest first. Returns x, `first` and `before` after the step.
    """
    start = jnp.where(s.again, first, x)
    every = jnp.concatenate([out[None], before])
    mixed = jnp.tensordot(s.weights, every, 1)
    if c.noise.prediction == "v_prediction":
        mixed = s.signal * mixed + s.noise * start
    after = s.kept * start + s.added * mixed
    return after, start, jnp.where(s.again, before, every[:3])


def decode(
    c: UnclipConfig, params: PyTree, latents: Float[Array, "N h w C"]
) -> Float[Array, "N H W 3"]:
    """Latents -> pixels, 0 to 1."""
    pixels = Vae(c.vae).apply({"params": params["vae"]}, latents / c.vae.scale, method="decode")
    return jnp.clip(pixels / 2 + 0.5, 0, 1)


def to_pixels(x: Float[Array, "N H W 3"]) -> UInt8[Array, "N H W 3"]:
    """0 to 1 -> 0 to 255, rounded."""
    return jnp.round(x * 255).astype(jnp.uint8)
