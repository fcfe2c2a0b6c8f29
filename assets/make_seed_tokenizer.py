"""Fits the small SEED tokenizer of `tiny` on toy scenes.

    python -m assets.make_seed_tokenizer --out tiny_seed.safetensors   # minutes on two cores

SEED's own codes have no meaning by themselves; here they are defined first: two per object, its
kind and its place. Then the encoder learns to predict them from the image, and the decoder to
predict the embedding of the scene's words from them. On 2000 held-out images all codes are right,
so no two scenes share theirs; the embedding's cosine with the scene's own words is .98, with
another's .02.
Axes: N images, H W pixels, K codes of an image, F channels of an embedding.
"""

import argparse
import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt8
from rich.progress import track

from mmcot_jax import hf
from mmcot_jax.models.seed_llama.config import SeedConfig
from mmcot_jax.models.seed_llama.keys import seed_table
from mmcot_jax.models.seed_llama.tokenizer import SeedTokenizer, from_pixels
from mmcot_jax.tasks import shapes
from mmcot_jax.tasks.shapes import facts

TINY = SeedConfig(
    resolution=48, patch=16, vit_width=32, vit_layers=2, vit_heads=4, vit_mlp=64,
    queries=facts.QUERIES, width=40, layers=3, heads=4, mlp=80, codes=facts.CODES, code_width=16,
    image_layers=1, image_heads=4, down=(24,), embedding=facts.CHANNELS,
)  # fmt: skip
"""8 codes per image of 48 pixels; a patch is a cell of a scene, with one object or none.

Images must be drawn at 48 pixels: of those drawn at 64 and resized a third is misread."""

SHARPNESS = 4.0
"""Nats per squared distance in the encoder's softmax over the codes."""


class Scenes(NamedTuple):
    """Images with their codes and embeddings."""

    pictures: UInt8[np.ndarray, "N H W 3"]
    codes: Int[np.ndarray, "N K"]
    embeddings: Float[np.ndarray, "N F"]


def scenes(count: int, split: str) -> Scenes:
    """Returns `count` described scenes."""
    drawn = [question.scene for question in shapes.described(count, split=split)]
    return Scenes(
        np.stack([shapes.draw(scene, TINY.resolution) for scene in drawn]),
        np.stack([facts.codes(scene) for scene in drawn]),
        np.stack([facts.embedding(scene) for scene in drawn]),
    )


def loss(
    params: dict[str, Any], given: Scenes, model: SeedTokenizer
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Returns the encoder's error in the codes plus the decoder's in the embedding, and metrics."""
    apply = partial(model.apply, {"params": params})
    codebook = jax.lax.stop_gradient(params["codebook"])
    z = apply(from_pixels(given.pictures), method="latents")
    # minus the squared distance to each code, but for |z|^2, which is the same for all
    closeness = 2 * z @ codebook.T - jnp.square(codebook).sum(1)
    sharp = optax.softmax_cross_entropy_with_integer_labels(SHARPNESS * closeness, given.codes)
    near = jnp.square(z - codebook[given.codes]).sum(-1)
    made = apply(given.codes, method="embed")
    apart = jnp.square(made - given.embeddings).sum(-1)
    right = (closeness.argmax(-1) == given.codes).all(-1)
    return sharp.mean() + 0.1 * near.mean() + apart.mean(), {
        "right": right.mean(),
        "cosine": _cosine(made, given.embeddings).mean(),
    }


def _cosine(x, y):
    return (x * y).sum(-1) / (jnp.linalg.norm(x, axis=-1) * jnp.linalg.norm(y, axis=-1))


def fit(given: Scenes, *, steps: int, batch: int, rate: float, seed: int) -> dict[str, Any]:
    """Returns params fitted on the scenes; prints metrics every 500 steps."""
    model, key = SeedTokenizer(TINY), jax.random.key(seed)
    params = jax.jit(model.init)(key, from_pixels(jnp.asarray(given.pictures[:1])))["params"]
    corners = jax.random.orthogonal(key, facts.CODES)[:, : TINY.code_width]
    params |= {"codebook": corners / jnp.linalg.norm(corners, axis=1, keepdims=True)}
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, steps // 20, steps, rate / 100)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b2=0.99))
    frozen = jax.tree.map_with_path(lambda path, _: path[0].key == "codebook", params)
    optimizer = optax.chain(optimizer, optax.masked(optax.set_to_zero(), frozen))

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params, opt, given):
        grads, metrics = jax.grad(loss, has_aux=True)(params, given, model)
        updates, opt = optimizer.update(grads, opt)
        return optax.apply_updates(params, updates), opt, metrics

    opt, order, logged, start = optimizer.init(params), np.random.default_rng(seed), [], time.time()
    for i in track(range(steps), "fitting"):
        rows = order.integers(0, len(given.codes), batch)
        params, opt, metrics = update(params, opt, Scenes(*(x[rows] for x in given)))
        logged.append(metrics)
        if (i + 1) % 500 == 0:
            right, cosine = (
                float(np.mean([m[name] for m in logged[-100:]])) for name in ("right", "cosine")
            )
            passed = f"{time.time() - start:.0f} s"
            print(f"step {i + 1}: whole images right {right:.4f}, cosine {cosine:.3f}, {passed}")
    return params


def evaluate(params: dict[str, Any], given: Scenes) -> dict[str, float]:
    """Returns the share of images with all codes right, and the embedding's cosines.

    `shared` is how often two images of different scenes have the same codes.
    """
    model = SeedTokenizer(TINY)

    @jax.jit
    def both(params, pictures):
        codes = model.apply({"params": params}, from_pixels(pictures), method="encode")
        return codes, model.apply({"params": params}, codes, method="embed")

    codes, made = map(np.asarray, both(params, given.pictures))
    _, own = np.unique(given.codes, axis=0, return_inverse=True)
    _, found = np.unique(codes, axis=0, return_inverse=True)
    differ = own[:, None] != own[None]
    return {
        "right": float((codes == given.codes).all(1).mean()),
        "cosine": float(_cosine(made, given.embeddings).mean()),
        "cosine of another": float(_cosine(made, np.roll(given.embeddings, 1, 0)).mean()),
        "shared": float((found[:, None] == found[None])[differ].mean()),
    }


def main() -> None:
    """Draws, fits, evaluates on held-out scenes, saves."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--out", required=True, help="the safetensors file to write")
    flags.add_argument("--scenes", type=int, default=20000)
    flags.add_argument("--steps", type=int, default=6000)
    flags.add_argument("--batch", type=int, default=128)
    flags.add_argument("--rate", type=float, default=3e-3)
    flags.add_argument("--seed", type=int, default=0)
    f = flags.parse_args()
    params = fit(scenes(f.scenes, "train"), steps=f.steps, batch=f.batch, rate=f.rate, seed=f.seed)
    # float16 halves the file; the rounded weights are the ones evaluated
    params = jax.tree.map(lambda x: x.astype(jnp.float16), params)
    rounded = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    print(
        "held out:",
        {name: round(x, 4) for name, x in evaluate(rounded, scenes(2000, "test")).items()},
    )
    hf.save_file(seed_table(TINY), {"seed": params}, f.out)


if __name__ == "__main__":
    main()
