"""Fits the small unCLIP of `t2m:tiny` on toy scenes: it paints what the tiny SEED tokenizer embeds.

    python -m assets.make_tiny_unclip --out tiny_unclip.safetensors   # a quarter of an hour

First the autoencoder learns to draw scenes from 12 x 12 cells, then the network learns to remove
noise from such cells, given the embedding of the scene's codes. Weights are stored in float16.
Axes: N images, H W pixels, h w cells, C channels of a cell, E channels of an embedding.
"""

import argparse
import pathlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree, UInt8

from assets.make_seed_tokenizer import TINY as SEED
from assets.make_seed_tokenizer import Scenes, scenes
from mmcot_jax.models.unclip import paint, schedule, weights
from mmcot_jax.models.unclip.config import UnclipConfig, UNetConfig, VaeConfig
from mmcot_jax.models.unclip.unet import UNet
from mmcot_jax.models.unclip.vae import Vae

TINY = UnclipConfig(
    unet=UNetConfig(4, (32, 64), (False, True), (2, 4), 1, 8, 8),
    vae=VaeConfig(4, (16, 32, 32), 1, 8, scale=1.0),
    embedding=SEED.embedding,
    prompt_tokens=1,
    scheduler="ddim",
    steps=8,
    guidance=1.0,
    size=SEED.resolution,
)


def from_pixels(images: UInt8[Array, "N H W 3"]) -> Float[Array, "N H W 3"]:
    """0..255 -> [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1


def train(
    loss: Callable[..., Array], params: PyTree, given: tuple, *, steps: int, rate: float, name: str
) -> PyTree:
    """Returns params after so many steps of 64 rows of `given`; `loss(params, rows, key)`."""
    rates = optax.warmup_cosine_decay_schedule(0.0, rate, steps // 20, steps, rate / 50)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rates, b2=0.99))

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(params, average, opt, rows, key):
        value, grads = jax.value_and_grad(loss)(params, rows, key)
        updates, opt = optimizer.update(grads, opt)
        params = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, x: 0.998 * a + 0.002 * x, average, params)
        return params, average, opt, value

    opt, random, began = optimizer.init(params), np.random.default_rng(0), time.time()
    average, values = jax.tree.map(jnp.copy, params), []
    for step in range(steps):
        rows = random.integers(0, len(given[0]), 64)
        batch, key = tuple(x[rows] for x in given), jax.random.key(step)
        params, average, opt, value = update(params, average, opt, batch, key)
        values.append(value)
        if (step + 1) % 250 == 0:
            mean = float(np.mean(values[-100:]))
            print(f"{name} {step + 1}: {mean:.5f}, {time.time() - began:.0f} s", flush=True)
    return average


def fit_vae(params: PyTree, pictures: UInt8[np.ndarray, "N H W 3"], steps: int) -> PyTree:
    """Returns an autoencoder whose cells have unit variance."""
    apply = partial(Vae(TINY.vae).apply)

    def loss(params, rows, key):
        pixels = from_pixels(rows[0])
        mean, _ = apply({"params": params}, pixels, method="encode")
        # a little noise, so that near cells look alike
        cells = mean + 0.05 * jax.random.normal(key, mean.shape)
        drawn = apply({"params": params}, cells, method="decode")
        apart = drawn - pixels
        return jnp.mean(apart**2) + 0.3 * jnp.mean(jnp.abs(apart)) + 1e-3 * jnp.mean(mean**2)

    params = train(loss, params, (pictures,), steps=steps, rate=2e-3, name="autoencoder")
    mean, _ = jax.jit(partial(apply, method="encode"))(
        {"params": params}, from_pixels(jnp.asarray(pictures[:512]))
    )
    deviation, middle = float(jnp.std(mean)), float(jnp.mean(mean))
    print(f"cells: mean {middle:.3f}, deviation {deviation:.3f}")
    inward, outward = params["quant_conv"], params["post_quant_conv"]
    scale = jnp.where(jnp.arange(2 * TINY.vae.channels) < TINY.vae.channels, 1 / deviation, 1.0)
    shift = jnp.where(scale == 1.0, 0.0, middle)
    return params | {
        "quant_conv": {
            "kernel": inward["kernel"] * scale,
            "bias": (inward["bias"] - shift) * scale,
        },
        "post_quant_conv": {
            "kernel": outward["kernel"] * deviation,
            "bias": outward["bias"] + middle * outward["kernel"].sum((0, 1, 2)),
        },
    }


def fit_unet(params: PyTree, given: tuple[Array, Array], steps: int) -> PyTree:
    """Returns all params with a fitted network; `given` are cells and embeddings."""
    every = jnp.asarray(schedule.alphas_cumprod(TINY.noise), jnp.float32)
    fixed = {name: x for name, x in params.items() if name != "unet"}

    def loss(unet, rows, key):
        cells, embeddings = rows
        n, keys = len(cells), jax.random.split(key, 3)
        label = paint.noised_label(
            TINY, fixed, embeddings, jax.random.normal(keys[0], embeddings.shape), 0
        )
        timestep = jax.random.randint(keys[1], (n,), 0, TINY.noise.train_steps)
        noise = jax.random.normal(keys[2], cells.shape)
        a = every[timestep][:, None, None, None]
        x = jnp.sqrt(a) * cells + jnp.sqrt(1 - a) * noise
        target = jnp.sqrt(a) * noise - jnp.sqrt(1 - a) * cells
        prompt = jnp.zeros((n, *fixed["prompt"].shape))
        found = UNet(TINY.unet).apply({"params": unet}, x, timestep, prompt, label)
        return jnp.mean((found - target) ** 2)

    unet = train(loss, params["unet"], given, steps=steps, rate=2e-3, name="network")
    return params | {"unet": unet}


def fit(given: Scenes, embeddings: Float[np.ndarray, "N E"], vae: int, unet: int) -> dict[str, Any]:
    """Returns all params, after so many steps of the autoencoder and of the network."""
    params = jax.jit(partial(paint.init, TINY))(jax.random.key(0))
    params |= {
        "vae": fit_vae(params["vae"], given.pictures, vae),
        "normalizer": {
            "mean": jnp.asarray(embeddings.mean(0)),
            "std": jnp.asarray(embeddings.std(0)),
        },
    }
    encode = jax.jit(partial(Vae(TINY.vae).apply, method="encode"))
    cells = np.concatenate(
        [
            encode({"params": params["vae"]}, from_pixels(jnp.asarray(part)))[0]
            for part in np.array_split(given.pictures, len(given.pictures) // 250)
        ]
    )
    return fit_unet(params, (cells, embeddings), unet)


def main() -> None:
    """Fits and writes the file, and a sheet of drawn and painted scenes beside it."""
    from PIL import Image

    from mmcot_jax import hf
    from mmcot_jax.models.seed_llama.keys import seed_table
    from mmcot_jax.models.seed_llama.tokenizer import SeedTokenizer
    from mmcot_jax.models.seed_llama.tokenizer import from_pixels as seed_pixels

    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--scenes", type=int, default=12000)
    parser.add_argument("--steps", type=int, nargs=2, default=(1500, 4000))
    args = parser.parse_args()
    folder = pathlib.Path(__file__).parents[1] / "mmcot_jax/models/seed_llama"
    seed = SeedTokenizer(SEED)
    pixels = jnp.zeros((1, SEED.resolution, SEED.resolution, 3))
    like = jax.eval_shape(seed.init, jax.random.key(0), seed_pixels(pixels))["params"]
    tokenizer = hf.load(seed_table(SEED), folder / "tiny_seed.safetensors", {"seed": like})["seed"]
    embed = jax.jit(partial(seed.apply, method="embed"))

    def read(count: int, split: str) -> tuple[Scenes, np.ndarray]:
        found = scenes(count, split)
        return found, np.asarray(embed({"params": tokenizer}, jnp.asarray(found.codes)))

    params = fit(*read(args.scenes, "train"), *args.steps)
    params = jax.tree.map(lambda x: x.astype(jnp.float16), params)
    weights.save(params, args.out)
    test, embeddings = read(8, "test")
    keys = jax.random.split(jax.random.key(1), 8)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    painted = np.asarray(jax.jit(partial(paint.paint, TINY))(wide, jnp.asarray(embeddings), keys))
    sheet = np.concatenate([np.concatenate(list(x), axis=1) for x in (test.pictures, painted)])
    Image.fromarray(sheet).resize((8 * 192, 2 * 192), Image.NEAREST).save(
        args.out.with_suffix(".png")
    )


if __name__ == "__main__":
    main()
