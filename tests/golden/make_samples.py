"""Writes samples.npz: tokens that tiny backbones draw, and their log-probabilities.

A token depends on the seed, its row and its place, and on no layout: whoever changes how the
sampler computes must get these again. It is run only when the draws themselves change:
PYTHONPATH=.:tests python tests/golden/make_samples.py
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from helpers import tiny as tinies

from mmcot_jax import data
from mmcot_jax.example import Example
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import SampleStatic, row_keys, sample
from mmcot_jax.types import Batch

FILE = pathlib.Path(__file__).parent / "samples.npz"
BACKBONES = ("chameleon", "seed_llama", "qwen")
LENGTH, GENERATIONS = 20, 3
LAWS = {
    "nucleus": Sampling(temperature=0.7, top_p=0.9),
    "penalty": Sampling(top_k=7, repetition_penalty=1.3),
    "greedy": Sampling(greedy=True),
}


def prompts(name: str, backbone, variables) -> Batch:
    """Two images and text, one and text, text alone: left-padded, prepared."""

    def words(text):
        return "".join(f"w{'abcdefgh'.index(x) + 4} " for x in text) if name == "qwen" else text

    def photo(h, w, seed):
        return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)

    two = (words("a"), photo(60, 90, 0), words("b"), photo(110, 56, 1), words("c"))
    parts = (two, (photo(56, 56, 2), words("def")), (words("gh"),))
    rows = [backbone.renderer.prompt(Example(str(i), p, "")) for i, p in enumerate(parts)]
    batch = data.pad(rows, max(len(row.tokens) for row in rows), "left")
    return jax.jit(backbone.prepare)(variables, jax.tree.map(jnp.asarray, batch))


def draw(backbone, variables, prompt: Batch, law: str, length=LENGTH):
    """A rollout of three prompts, three samples of each."""
    keys = row_keys(jax.random.key(11), jnp.arange(3 * GENERATIONS))
    static = SampleStatic(LAWS[law], length, GENERATIONS)
    return sample(backbone, variables, backbone.grammar, prompt, keys, static)


def main() -> None:
    """Draws and writes."""
    made = {}
    for name in BACKBONES:
        backbone, variables = getattr(tinies, name)()
        prompt = prompts(name, backbone, variables)
        for law in LAWS:
            out = draw(backbone, variables, prompt, law)
            for field in ("tokens", "valid", "state", "room", "sampled", "logps"):
                x = np.asarray(getattr(out, field))
                made[f"{name}/{law}/{field}"] = x.reshape(3, GENERATIONS, LENGTH)
            print(name, law, np.asarray(out.valid).sum(axis=-1))
    np.savez_compressed(FILE, **made)


if __name__ == "__main__":
    main()
