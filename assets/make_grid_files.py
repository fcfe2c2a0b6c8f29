"""Fits the small VQGAN of `planning` on drawn grids, and makes its tokenizer.

    python -m assets.make_grid_files --vqgan grid_vqgan.safetensors --tokenizer grid_tokenizer.json

A code stands for one tile of 8 pixels, so a grid of 4 x 4 cells is 16 codes. The method is that of
`make_chameleon_vqgan`; the pictures are random mosaics of tiles, so that a tile is drawn alike
beside any others. A token of text is a word with the space before it, or a byte.
"""

import argparse

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import Unigram

from assets.make_chameleon_tokenizer import special
from assets.make_chameleon_vqgan import evaluate, fit, save
from mmcot_jax.grids import pictures
from mmcot_jax.models.chameleon.config import VQGANConfig
from mmcot_jax.tasks import frozenlake, maze

GRID = VQGANConfig(
    ch=8, ch_mult=(1, 1, 2, 2), num_res_blocks=1, z_channels=8, embed_dim=8,
    codes=16, resolution=32, groups=4,
)  # fmt: skip
"""16 codes per picture of 32 pixels; seven of the codebook's are tiles."""


def mosaics(seed: int, count: int) -> np.ndarray:
    """Draws `count` pictures of tiles in any order and share, uint8 [N H W 3]."""
    rng, side = np.random.default_rng(seed), GRID.resolution // GRID.factor
    found = []
    for _ in range(count):
        share = rng.dirichlet(np.full(len(pictures.TILES), 0.5))
        kinds = rng.choice(pictures.TILES, (side, side), p=share)
        rows = [np.concatenate([pictures.tile(int(k), 8, 8) for k in row], 1) for row in kinds]
        found.append(np.concatenate(rows, 0))
    return np.stack(found)


def tokenizer(texts: list[str], codes: int) -> Tokenizer:
    """Returns a byte-level tokenizer with the texts' words, image ids first."""
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\w+|\n"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    pieces = sorted({piece for text in texts for piece, _ in split.pre_tokenize_str(text)})
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    marks = special(codes)
    # a piece costs 1, a byte 10: the fewest pieces win
    scores = [(token, 0.0) for token in marks] + [(byte, -10.0) for byte in alphabet]
    scores += [(piece, -1.0) for piece in pieces if len(piece) > 1]
    made = Tokenizer(Unigram(scores, unk_id=marks.index("<unk>")))
    made.pre_tokenizer = split
    made.decoder = decoders.ByteLevel()
    return made


def words() -> list[str]:
    """Returns prompts and chains with every word of the tasks on grids."""
    examples = [
        example
        for task in (frozenlake, maze)
        for side in range(3, 9)
        for question in ("words", "picture")
        for example in task.load(count=40, sizes=(side,), question=question)
    ]
    return [s for e in examples for s in (*e.prompt, *e.rationale) if isinstance(s, str)]


def main() -> None:
    """Writes both files; prints the share of held-out tiles that are recognised."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--vqgan", required=True, help="the safetensors file to write")
    flags.add_argument("--tokenizer", required=True, help="the json file to write")
    flags.add_argument("--steps", type=int, default=2000)
    flags.add_argument("--batch", type=int, default=4)
    flags.add_argument("--rate", type=float, default=3e-3)
    flags.add_argument("--seed", type=int, default=0)
    f = flags.parse_args()
    made = tokenizer(words(), GRID.codes)
    made.save(f.tokenizer)
    print(f"{f.tokenizer}: {made.get_vocab_size()} ids")
    drawn = mosaics(f.seed, 4000)
    params = fit(drawn[500:], GRID, steps=f.steps, batch=f.batch, rate=f.rate, seed=f.seed)
    decoded, codes = evaluate(drawn[:500], params, GRID)
    error = np.abs(decoded.astype(int) - drawn[:500]).mean()
    print(f"held out: error {error:.2f} of 255, {len(np.unique(codes))} of {GRID.codes} codes used")
    save(f.vqgan, params, GRID)


if __name__ == "__main__":
    main()
