"""Draws a contact sheet of all kinds of puzzle, one pair of pictures a kind.

    python -m mmcot_jax.tasks.puzzlevqa.sheet sheet.png --released PuzzleVQA --size 64

With the released benchmark a pair is our picture of its first record, then the released picture;
without it, a sampled puzzle, then the same puzzle with its answer filled in.
"""

import argparse
import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmcot_jax.tasks.puzzlevqa import KINDS
from mmcot_jax.tasks.puzzlevqa.kind import Kind
from mmcot_jax.tasks.puzzlevqa.splits import read_picture, released

CELL = 180
"""Side of a picture on the sheet, pixels."""

HEAD = 22
"""Height of a pair's heading."""

COLUMNS = 4


def pair(kind: Kind, size: int, folder: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns two pictures to compare, uint8 [H W 3]: ours of `size`, and its counterpart."""
    if folder:
        record = released(kind, folder)[0]
        scene = kind.parse(record.word._asdict())
        return kind.draw(scene, size), read_picture(record)
    scene = kind.sample(random.Random(0))
    filled = scene.fill(scene.answer) if kind.multimodal else scene
    return kind.draw(scene, size), kind.draw(filled, size)


def sheet(size: int, folder: Path | None = None) -> Image.Image:
    """Draws all pairs under their names; small pictures are enlarged pixel by pixel."""
    width, height = 2 * CELL + 12, CELL + HEAD
    rows = -(-len(KINDS) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * width, rows * height), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    filter_ = Image.Resampling.NEAREST if size < CELL else Image.Resampling.LANCZOS
    for index, (name, kind) in enumerate(KINDS.items()):
        x, y = index % COLUMNS * width, index // COLUMNS * height
        draw.text((x + 4, y + 3), name, fill="black", font=font)
        for side, picture in enumerate(pair(kind, size, folder)):
            shown = Image.fromarray(picture).resize((CELL, CELL), filter_)
            page.paste(shown, (x + side * CELL, y + HEAD))
        draw.rectangle((x, y, x + width - 1, y + height - 1), outline="#cccccc")
    return page


def main() -> None:
    """Writes the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--released", type=Path, help="folder of the released benchmark")
    parser.add_argument("--size", type=int, default=512, help="side of our pictures, pixels")
    given = parser.parse_args()
    try:
        sheet(given.size, given.released).save(given.out)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
