"""Fits the small VQGAN of `tiny` on drawn puzzles.

    python -m assets.make_chameleon_vqgan --out tiny_vqgan.safetensors   # minutes on two cores

The codebook is defined first: the most common cells of the images, in principal components. Then
the encoder learns to predict each cell's code, and the decoder to draw from the codes. So a code
depends on its own cell only, and the same cell has the same code in every image.
Its limits: 1024 codes for the cells of twenty kinds keep colours, sizes, shapes and the digits of
number grids; the smallest digits blur. On held-out images the mean error is 4.0 of 255, and two
options drawn into one image differ in their codes 92 times of 100.
Axes: N images, H W pixels, h w cells, M cells of many images, P values of a cell's pixels,
E channels of a code.
"""

import argparse
import random
import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from einops import rearrange
from jaxtyping import Array, Float, Int, UInt8
from rich.progress import track

from mmcot_jax import hf
from mmcot_jax.models.chameleon.config import VQGANConfig
from mmcot_jax.models.chameleon.keys import vqgan_table
from mmcot_jax.models.chameleon.vqgan import VQGAN, from_pixels, to_pixels
from mmcot_jax.nn.codebook import nearest
from mmcot_jax.tasks.puzzlevqa import KINDS, splits

TINY = VQGANConfig(
    ch=8, ch_mult=(1, 1, 3, 4), num_res_blocks=1, z_channels=32, embed_dim=32,
    codes=1024, resolution=64, groups=4,
)  # fmt: skip
"""64 codes per image of 64 pixels: a cell is 64 of the puzzles' 512 units, as are the cells of most
of their grids, so a cell shows few objects."""

SHARPNESS = 4.0
"""Nats per squared distance in the encoder's softmax over the codes."""
CONTRAST_WEIGHT = 8.0
"""Extra weight of a pixel that differs most from the mean of its neighbours; a flat one's is 1."""


class Codes(NamedTuple):
    """Defines a cell's code: the nearest vector to its principal components."""

    mean: Float[np.ndarray, "E"]
    basis: Float[np.ndarray, "P E"]
    vectors: Float[np.ndarray, "codes E"]
    """The codebook."""


def draw(seed: int, count: int, size: int) -> UInt8[np.ndarray, "N H W 3"]:
    """Draws `count` images, all kinds in equal parts, half of them with an option filled in.

    None is of a puzzle in the test set.
    """
    rng = random.Random(seed)
    kinds = list(KINDS.values())
    test = {
        kind.name: {puzzle.scene for puzzle in splits.sampled_test_set(kind, 100)} for kind in kinds
    }
    pictures = []
    for i in track(range(count), "pictures"):
        kind = kinds[i % len(kinds)]
        scene = kind.sample(rng)
        while scene in test[kind.name]:
            scene = kind.sample(rng)
        if kind.multimodal and rng.random() < 0.5:
            scene = scene.fill(rng.choice(kind.word(scene).options))
        pictures.append(kind.draw(scene, size))
    return np.stack(pictures)


def cells(pictures: Array | np.ndarray, factor: int) -> Array | np.ndarray:
    """Images [N H W 3] -> their cells' pixels [N h w P]."""
    return rearrange(pictures, "n (h y) (w x) c -> n h w (y x c)", y=factor, x=factor)


def define(pictures: UInt8[np.ndarray, "N H W 3"], config: VQGANConfig) -> Codes:
    """Returns the codes that cover most of the images' cells, in principal components."""
    size = config.factor
    all_cells = cells(pictures, size).reshape(-1, size**2 * 3)
    distinct, times = np.unique(all_cells, axis=0, return_counts=True)
    stretch = emphasise_luminance(size)
    points = (distinct.astype(np.float32) / 127.5 - 1) @ stretch
    centres = weighted_cover(points, times.astype(np.float32), config.codes)
    mean = centres.mean(0)
    _, _, components = np.linalg.svd(centres - mean, full_matrices=False)
    basis = components[: config.embed_dim].T
    vectors = (centres - mean) @ basis
    scale = np.float32(1 / vectors.std())
    return Codes(mean @ basis * scale, stretch @ basis * scale, vectors * scale)


def emphasise_luminance(size: int) -> Float[np.ndarray, "P P"]:
    """Returns a linear map of a cell that doubles its luminance contrast: digits before colours."""
    unit = np.eye(size**2 * 3, dtype=np.float32).reshape(-1, size**2, 3)
    grey = unit.mean(2, keepdims=True)
    return (unit + grey - grey.mean(1, keepdims=True)).reshape(size**2 * 3, -1)


def weighted_cover(
    points: Float[np.ndarray, "M P"],
    weight: Float[np.ndarray, "M"],
    count: int,
    near: float = 2.0,
    rounds: int = 3,
) -> Float[np.ndarray, "codes P"]:
    """Returns centres with as much weight as possible within a squared distance of `near`.

    Each is the point that adds most, then the mean of its cluster. Points farther than `near` do
    not attract centres: with plain k-means a third of the puzzles' options have equal codes,
    because rare borders, far from everything, take the codes of the digits.
    """
    squares = np.square(points).sum(1)
    centres = points[[weight.argmax()]]
    away = np.full(len(points), near, np.float32)
    while len(centres) < count:
        last = centres[-1]
        away = np.minimum(away, np.maximum(squares - 2 * points @ last + last @ last, 0))
        centres = np.vstack([centres, points[(weight * away).argmax()]])
    for _ in range(rounds):
        to = squares[:, None] + np.square(centres).sum(1) - 2 * points @ centres.T
        index = to.argmin(1)
        close = np.flatnonzero(to[np.arange(len(to)), index] < near)
        order = close[np.argsort(index[close], kind="stable")]
        found, starts = np.unique(index[order], return_index=True)
        sums = np.add.reduceat((points * weight[:, None])[order], starts)
        centres[found] = sums / np.add.reduceat(weight[order], starts)[:, None]
    return centres


def pixel_weight(x: Float[Array, "N H W 3"]) -> Float[Array, "N H W 1"]:
    """Returns the loss weight of each pixel: more for thin strokes, which digits consist of."""
    window = (1, 5, 5, 1)
    total = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, (1, 1, 1, 1), "SAME")
    return 1 + CONTRAST_WEIGHT * jnp.abs(x - total / 25).max(-1, keepdims=True) / 2


def loss(
    params: dict[str, Any], x: Float[Array, "N H W 3"], model: VQGAN, codes: Codes
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Returns the decoder's weighted error plus the encoder's error in the codes, and metrics."""
    apply = partial(model.apply, {"params": params})
    codebook = jnp.asarray(codes.vectors)
    index = nearest(cells(x, model.config.factor) @ codes.basis - codes.mean, codebook)
    vectors = codebook[index]
    z = apply(x, method="latents")
    error = apply(vectors, method="decode_latents") - x
    image_loss = (pixel_weight(x) * (jnp.abs(error) + jnp.square(error))).mean()
    # minus the squared distance to each code, but for |z|^2, which is the same for all
    closeness = 2 * z @ codebook.T - jnp.square(codebook).sum(1)
    sharp = optax.softmax_cross_entropy_with_integer_labels(SHARPNESS * closeness, index).mean()
    told = jnp.square(z - vectors).mean() + 0.1 * sharp
    right = (closeness.argmax(-1) == index).mean()
    return image_loss + told, {"error": jnp.abs(error).mean() * 127.5, "right": right}


def fit(
    pictures: UInt8[np.ndarray, "N H W 3"],
    config: VQGANConfig,
    *,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
) -> dict[str, Any]:
    """Returns params of a VQGAN fitted on the images; prints metrics every 100 steps."""
    model, key = VQGAN(config), jax.random.key(seed)
    codes = define(pictures, config)
    params = jax.jit(model.init)(key, from_pixels(jnp.asarray(pictures[:1])))["params"]
    params |= {"codebook": jnp.asarray(codes.vectors)}
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, steps // 20, steps, rate / 100)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b2=0.99))

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params, opt, pixels):
        grads, metrics = jax.grad(loss, has_aux=True)(params, from_pixels(pixels), model, codes)
        updates, opt = optimizer.update(grads, opt)
        return optax.apply_updates(params, updates), opt, metrics

    opt, order, logged, start = optimizer.init(params), np.random.default_rng(seed), [], time.time()
    for i in track(range(steps), "fitting"):
        rows = order.integers(0, len(pictures), batch)
        params, opt, metrics = update(params, opt, pictures[rows])
        logged.append(metrics)
        if (i + 1) % 100 == 0:
            error, right = (
                float(np.mean([m[name] for m in logged[-100:]])) for name in ("error", "right")
            )
            passed = f"{time.time() - start:.0f} s"
            print(f"step {i + 1}: error {error:.2f} of 255, codes right {right:.3f}, {passed}")
    return params


def save(path: str, params: dict[str, Any], config: VQGANConfig) -> None:
    """Writes float16, in the original's names and layout."""
    hf.save_file(vqgan_table(config), {"vqgan": params}, path, jnp.float16)


def evaluate(
    pictures: UInt8[np.ndarray, "N H W 3"], params: dict[str, Any], config: VQGANConfig
) -> tuple[UInt8[np.ndarray, "N H W 3"], Int[np.ndarray, "N K"]]:
    """Returns the images encoded and decoded, and their codes."""
    model = VQGAN(config)

    @jax.jit
    def both(params, x):
        codes = model.apply({"params": params}, from_pixels(x), method="encode")
        return to_pixels(model.apply({"params": params}, codes, method="decode")), codes

    parts = [both(params, pictures[i : i + 50]) for i in range(0, len(pictures), 50)]
    drawn, codes = zip(*parts, strict=True)
    return np.concatenate(drawn), np.concatenate(codes)


def main() -> None:
    """Draws, fits, evaluates on held-out images, saves."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--out", required=True, help="the safetensors file to write")
    flags.add_argument("--pictures", type=int, default=8000)
    flags.add_argument("--steps", type=int, default=5000)
    flags.add_argument("--batch", type=int, default=4)
    flags.add_argument("--rate", type=float, default=3e-3)
    flags.add_argument("--seed", type=int, default=0)
    f = flags.parse_args()
    pictures = draw(f.seed, f.pictures + 500, TINY.resolution)
    params = fit(pictures[500:], TINY, steps=f.steps, batch=f.batch, rate=f.rate, seed=f.seed)
    drawn, codes = evaluate(pictures[:500], params, TINY)
    error = np.abs(drawn.astype(int) - pictures[:500]).mean()
    print(f"held out: error {error:.2f} of 255, {len(np.unique(codes))} of {TINY.codes} codes used")
    save(f.out, params, TINY)


if __name__ == "__main__":
    main()
