"""A reward for painted pictures of plain shapes: the things of the true picture, at their places.

A picture has a white ground and `GRID` x `GRID` cells with one thing or none.
Axes: H W pixels of a picture, h w of a cell.
"""

from typing import NamedTuple

import numpy as np

from mmcot_jax.example import Example, Reply

GRID = 3
"""Cells along a side."""
INK = 110
"""A pixel belongs to a thing if its least channel is this far below white; colours reach 210."""
SMALLEST = 0.1
"""Share of a cell that a thing covers at least; the smallest triangle covers .2."""
NEAR_COLOR = 70.0
"""Largest distance of equal colours; the nearest two of the toy world are 158 apart."""
NEAR_FILL = 0.12
"""Largest difference of equal shapes; of its box a triangle fills .53, a disc .78, a square 1."""


class Thing(NamedTuple):
    """One shape of a picture."""

    color: np.ndarray
    """float [3], the median of its pixels."""
    fill: float
    """Share of its bounding box that it covers."""

    def equals(self, other: "Thing") -> bool:
        """True for things of one colour and shape; their size and place do not matter."""
        near = float(np.linalg.norm(self.color - other.color)) <= NEAR_COLOR
        return near and abs(self.fill - other.fill) <= NEAR_FILL


def things(picture: np.ndarray) -> dict[tuple[int, int], Thing]:
    """Returns the things in a picture, uint8 [H W 3], by row and column of their cell."""
    found = {}
    for row, band in enumerate(np.array_split(picture, GRID, axis=0)):
        for column, cell in enumerate(np.array_split(band, GRID, axis=1)):
            inked = 255 - cell.min(axis=-1).astype(int) > INK
            if inked.mean() < SMALLEST:
                continue
            sides = [np.ptp(at) + 1 for at in np.nonzero(inked)]
            fill = float(inked.sum() / np.prod(sides))
            found[row, column] = Thing(np.median(cell[inked], axis=0), fill)
    return found


def image_objects(example: Example, reply: Reply) -> float:
    """Returns the share of things that the painted and the true picture have in common.

    It is the number of cells with equal things, divided by the number of cells with a thing in
    either picture; the mean over the reply's pictures. A reply without pictures scores 0.0; a
    picture that was not painted, because it is unfinished, counts 0.0.

    Raises:
        ValueError: the example has no `extra["picture"]`, uint8 [H W 3].
    """
    picture = example.extra.get("picture")
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3:
        raise ValueError(
            f"example {example.id!r} has no extra['picture'], uint8 [H W 3], to compare painted "
            "pictures with; give it, or take another reward"
        )
    true = things(picture)
    scores = [
        0.0 if picture.pixels is None else overlap(things(picture.pixels), true)
        for picture in reply.pictures
    ]
    return float(np.mean(scores)) if scores else 0.0


image_objects.needs_images = ("pixels",)


def overlap(one: dict[tuple[int, int], Thing], other: dict[tuple[int, int], Thing]) -> float:
    """Returns equal cells / cells with a thing in either; 1.0 for two empty pictures."""
    both = one.keys() & other.keys()
    either = len(one.keys() | other.keys())
    return sum(one[cell].equals(other[cell]) for cell in both) / either if either else 1.0
