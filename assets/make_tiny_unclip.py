"""Fits the small unCLIP of `t2m:tiny` on toy scenes: it paints what the tiny SEED tokenizer embeds.

    python -m assets.make_tiny_unclip --out tiny_unclip.safetensors   # a quarter of an hour

First the autoencoder learns to draw scenes from 6 x 6 cells. Then the network learns to remove
noise from such cells, given the embedding of the scene's codes. Last the decoder learns on alone,
from cells that stay the same. Weights are stored in float16.

Of 200 unseen scenes the painted pictures show .77 of the things (colour, shape and cell, as the
reward `image_objects` counts them); .49 without guidance. With random places and sizes in a cell,
.63 of them are nearer to their own picture than to the other 199; by chance .005.
Axes: N images, H W pixels, h w cells, C channels of a cell, E channels of an embedding.
"""

import argparse
import pathlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree, UInt8
from PIL import Image

from assets.make_seed_tokenizer import TINY as SEED
from assets.make_seed_tokenizer import scenes
from mmcot_jax import hf
from mmcot_jax.models import seed_llama
from mmcot_jax.models.seed_llama.keys import seed_table
from mmcot_jax.models.seed_llama.tokenizer import SeedTokenizer
from mmcot_jax.models.unclip import paint, schedule, weights
from mmcot_jax.models.unclip.config import UnclipConfig, UNetConfig, VaeConfig
from mmcot_jax.models.unclip.unet import Embedding, UNet, sinusoidal
from mmcot_jax.models.unclip.vae import Vae
from mmcot_jax.rewards import drawings
from mmcot_jax.tasks.shapes import facts, world

PACKAGED = pathlib.Path(seed_llama.__file__).parent

RATE = 2e-3

TINY = UnclipConfig(
    unet=UNetConfig(8, (48, 80), (False, False), (4, 4), 1, 8, 8),
    vae=VaeConfig(8, (8, 8, 16, 32), 1, 4, scale=1.0),
    embedding=SEED.embedding,
    prompt_tokens=1,
    scheduler="ddim",
    steps=8,
    guidance=3.0,
    size=SEED.resolution,
)
"""6 x 6 cells, so that the network's lower level has the 3 x 3 cells of a scene."""


def random(shapes: PyTree, seed: int) -> PyTree:
    """Returns kernels of variance 1 / inputs, scales of 1 and zeros."""
    rng = np.random.default_rng(seed)

    def draw(path, x):
        kind = path[-1].key
        if kind == "kernel":
            x = rng.standard_normal(x.shape) / np.sqrt(np.prod(x.shape[:-1]))
        else:
            x = np.full(x.shape, float(kind in ("scale", "std")))
        return jnp.asarray(x, jnp.float32)

    return jax.tree.map_with_path(draw, shapes)


def from_pixels(images: UInt8[Array, "N H W 3"]) -> Float[Array, "N H W 3"]:
    """0..255 -> [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1


def train(
    loss: Callable[..., Array], params: PyTree, given: tuple, *, steps: int, batch: int, name: str
) -> PyTree:
    """Returns params after so many steps of `batch` rows of `given`; `loss(params, rows, key)`."""
    rates = optax.warmup_cosine_decay_schedule(0.0, RATE, steps // 20, steps, RATE / 100)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rates, b2=0.99))

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params, opt, rows, key):
        value, grads = jax.value_and_grad(loss)(params, rows, key)
        updates, opt = optimizer.update(grads, opt)
        return optax.apply_updates(params, updates), opt, value

    opt, order, values = optimizer.init(params), np.random.default_rng(0), []
    for step in range(steps):
        rows = order.integers(0, len(given[0]), batch)
        taken = tuple(x[rows] for x in given)
        params, opt, value = update(params, opt, taken, jax.random.key(step))
        values.append(value)
        if step in (0, 99) or (step + 1) % 250 == 0:
            mean = float(np.mean(values[-100:]))
            print(f"{name} {step + 1}: {mean:.5f}, {time.process_time():.0f} s", flush=True)
    return params


def fit_vae(params: PyTree, pictures: UInt8[np.ndarray, "N H W 3"], steps: int) -> PyTree:
    """Returns an autoencoder whose cells have unit variance."""
    apply = partial(Vae(TINY.vae).apply)

    def loss(params, rows, key):
        pixels = from_pixels(rows[0])
        mean, _ = apply({"params": params}, pixels, method="encode")
        # a little noise, so that near cells look alike
        cells = mean + 0.05 * jax.random.normal(key, mean.shape)
        drawn = apply({"params": params}, cells, method="decode")
        return _apart(drawn, pixels) + 1e-3 * jnp.mean(mean**2)

    params = train(loss, params, (pictures,), steps=steps, batch=8, name="autoencoder")
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


def fit_decoder(params: PyTree, cells: Array, pictures: Array, steps: int) -> PyTree:
    """Returns all params with a better decoder; the cells stay what the network was fitted on."""
    names = ("decoder", "post_quant_conv")

    def loss(decoder, rows, key):
        near = rows[0] + 0.1 * jax.random.normal(key, rows[0].shape)
        drawn = Vae(TINY.vae).apply({"params": decoder}, near, method="decode")
        return _apart(drawn, from_pixels(rows[1]))

    decoder = {name: params["vae"][name] for name in names}
    decoder = train(loss, decoder, (cells, pictures), steps=steps, batch=8, name="decoder")
    return params | {"vae": params["vae"] | decoder}


def _apart(drawn: Array, pixels: Array) -> Array:
    """Returns the error of pixels; absolute errors keep edges sharp."""
    return jnp.mean(jnp.square(drawn - pixels)) + 0.3 * jnp.mean(jnp.abs(drawn - pixels))


def facts_of(codes: Int[np.ndarray, "N K"]) -> Float[np.ndarray, "N F"]:
    """Returns 1 for each colour and each shape that is in a cell, 0 for others: F = 9 (4 + 3)."""
    kinds, colors = len(world.NAMES), len(world.COLORS)
    found = np.zeros((len(codes), len(world.CELLS), colors + len(world.SHAPES)), np.float32)
    for name, cell in codes.reshape(len(codes), -1, 2).transpose(1, 2, 0):
        there = np.flatnonzero(name != facts.NOTHING)
        name, cell = name[there], cell[there] - kinds
        color, shape = np.divmod(name, len(world.SHAPES))
        found[there, cell, color] = found[there, cell, colors + shape] = 1
    return found.reshape(len(codes), -1)


def fit_label(params: PyTree, given: tuple[Array, Array], steps: int) -> PyTree:
    """Returns all params; the label's layers tell which things are where.

    `given` are embeddings and `facts_of` their scenes. Without this, 1500 steps of the network
    painted good pictures of other scenes: 108 sentences are hard to find in 64 channels.
    """
    fixed, c = {name: x for name, x in params.items() if name != "unet"}, TINY.unet
    layers, unet = Embedding(c), params["unet"]
    width = 4 * c.widths[0]

    def loss(fitted, rows, key):
        embeddings, there = rows
        keys = jax.random.split(key)
        noise = jax.random.normal(keys[0], embeddings.shape)
        label = paint.noised_label(TINY, fixed, embeddings, noise, 0)
        timestep = jax.random.randint(keys[1], (len(label),), 0, TINY.noise.train_steps)
        time = sinusoidal(timestep, c.widths[0])
        x = layers.apply({"params": unet["time_embedding"]}, time)
        x += layers.apply({"params": fitted["layers"]}, label)
        found = jax.nn.silu(x) @ fitted["probe"]["kernel"] + fitted["probe"]["bias"]
        return optax.sigmoid_binary_cross_entropy(found, there).sum(-1).mean()

    count = given[1].shape[1]
    shapes = {"kernel": np.empty((width, count)), "bias": np.empty(count)}
    fitted = {"layers": unet["class_embedding"], "probe": random(shapes, seed=1)}
    fitted = train(loss, fitted, given, steps=steps, batch=256, name="label")
    return params | {"unet": unet | {"class_embedding": fitted["layers"]}}


def fit_unet(
    params: PyTree, given: tuple[Array, Array], steps: int, without: float = 0.0
) -> PyTree:
    """Returns all params with a fitted network; `given` are cells and embeddings.

    A share `without` of the labels is zeros, which guidance leads away from.
    """
    every = jnp.asarray(schedule.alphas_cumprod(TINY.noise), jnp.float32)
    fixed = {name: x for name, x in params.items() if name != "unet"}

    def loss(unet, rows, key):
        cells, embeddings = rows
        n, keys = len(cells), jax.random.split(key, 4)
        label = paint.noised_label(
            TINY, fixed, embeddings, jax.random.normal(keys[0], embeddings.shape), 0
        )
        timestep = jax.random.randint(keys[1], (n,), 0, TINY.noise.train_steps)
        label = jnp.where(jax.random.bernoulli(keys[3], without, (n, 1)), 0.0, label)
        noise = jax.random.normal(keys[2], cells.shape)
        a = every[timestep][:, None, None, None]
        x = jnp.sqrt(a) * cells + jnp.sqrt(1 - a) * noise
        target = jnp.sqrt(a) * noise - jnp.sqrt(1 - a) * cells
        prompt = jnp.zeros((n, *fixed["prompt"].shape))
        found = UNet(TINY.unet).apply({"params": unet}, x, timestep, prompt, label)
        return jnp.mean((found - target) ** 2)

    unet = train(loss, params["unet"], given, steps=steps, batch=32, name="network")
    return params | {"unet": unet}


class Embedded(NamedTuple):
    """Pictures of scenes, and the embeddings that the tiny SEED tokenizer makes of their codes."""

    pictures: UInt8[np.ndarray, "N H W 3"]
    codes: Int[np.ndarray, "N K"]
    embeddings: Float[np.ndarray, "N E"]


class Steps(NamedTuple):
    """Steps of each fit, in order; the defaults took 13 minutes of one core, each run by itself."""

    vae: int = 1200
    label: int = 3000
    unet: int = 4000
    guided: int = 2800
    """Of the network, with a tenth of the labels left out."""
    again: int = 1600
    """The same, from a high learning rate down once more."""
    decoder: int = 600


def embed(codes: Int[np.ndarray, "N K"]) -> Float[np.ndarray, "N E"]:
    """Returns the embeddings of codes, by the packaged SEED tokenizer."""
    model, pixels = SeedTokenizer(SEED), jnp.zeros((1, SEED.resolution, SEED.resolution, 3))
    like = jax.eval_shape(model.init, jax.random.key(0), pixels)["params"]
    params = hf.load(seed_table(SEED), PACKAGED / "tiny_seed.safetensors", {"seed": like})["seed"]
    made = jax.jit(partial(model.apply, method="embed"))({"params": params}, jnp.asarray(codes))
    return np.asarray(made)


def embedded(count: int, split: str) -> Embedded:
    """Returns `count` scenes of a split."""
    given = scenes(count, split)
    return Embedded(given.pictures, given.codes, embed(given.codes))


def fit(given: Embedded, steps: Steps) -> dict[str, Any]:
    """Returns all params, fitted on scenes."""
    shapes = jax.eval_shape(partial(paint.init, TINY), jax.random.key(0))
    params, embeddings = random(shapes, seed=0), given.embeddings
    params |= {
        "vae": fit_vae(params["vae"], given.pictures, steps.vae),
        "normalizer": {
            "mean": jnp.asarray(embeddings.mean(0)),
            "std": jnp.asarray(embeddings.std(0)),
        },
    }
    encode = jax.jit(partial(Vae(TINY.vae).apply, method="encode"))
    parts = np.array_split(given.pictures, max(1, len(given.pictures) // 250))
    cells = np.concatenate(
        [encode({"params": params["vae"]}, from_pixels(jnp.asarray(x)))[0] for x in parts]
    )
    params = fit_label(params, (embeddings, facts_of(given.codes)), steps.label)
    params = fit_unet(params, (cells, embeddings), steps.unet)
    for count in (steps.guided, steps.again):
        params = fit_unet(params, (cells, embeddings), count, without=0.1)
    return fit_decoder(params, cells, given.pictures, steps.decoder)


def painted(params: PyTree, given: Embedded) -> UInt8[np.ndarray, "N H W 3"]:
    """Returns the pictures painted of the embeddings, each with noise of its own."""
    params = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    keys = jax.random.split(jax.random.key(1), len(given.embeddings))
    made = jax.jit(partial(paint.paint, TINY))(params, jnp.asarray(given.embeddings), keys)
    return np.asarray(made)


def evaluate(
    painted: UInt8[np.ndarray, "N H W 3"], true: UInt8[np.ndarray, "N H W 3"]
) -> dict[str, float]:
    """Compares painted pictures with the scenes' own.

    Returns:
        `things`: the share of things in common, as the reward `image_objects` counts them.
        `nearest`: how often, of all N true pictures, its own has the least mean difference.
    """
    far = [np.abs(x.astype(int) - true).mean((1, 2, 3)) for x in painted]
    common = [
        drawings.overlap(drawings.things(one), drawings.things(other))
        for one, other in zip(painted, true, strict=True)
    ]
    return {
        "things": float(np.mean(common)),
        "nearest": float(np.mean(np.argmin(far, axis=1) == np.arange(len(true)))),
    }


def main() -> None:
    """Fits, evaluates on unseen scenes, writes the file, and a sheet of painted scenes beside it.

    The sheet has each scene's own picture above the one that was painted.
    """
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--out", type=pathlib.Path, required=True)
    flags.add_argument("--scenes", type=int, default=8000)
    flags.add_argument("--steps", type=int, nargs=6, default=Steps(), metavar=Steps._fields)
    f = flags.parse_args()
    params = fit(embedded(f.scenes, "train"), Steps(*f.steps))
    params = jax.tree.map(lambda x: x.astype(jnp.float16), params)
    weights.save(params, f.out)
    test = embedded(200, "test")
    made = painted(params, test)
    print({name: round(x, 3) for name, x in evaluate(made, test.pictures).items()})
    rows = [np.concatenate(list(x[:8]), axis=1) for x in (test.pictures, made)]
    sheet = Image.fromarray(np.concatenate(rows))
    sheet.resize((3 * sheet.width, 3 * sheet.height), Image.NEAREST).save(f.out.with_suffix(".png"))
    print(f"{time.process_time():.0f} s of one core")


if __name__ == "__main__":
    main()
