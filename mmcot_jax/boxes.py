"""Boxes of a picture: a label, four coordinates, and the frame they are measured in. Host only.

A picture has three frames: its own pixels, the pixels it is resized to for the model, and 0 to 1000
both ways. A box holds its frame, so two boxes are never compared across frames.
"""

import functools
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

WHOLE_IMAGE = 0.9
"""Share of the picture above which a box covers the whole image and locates nothing."""


Number = int | float


class Space(NamedTuple):
    """The frame a box's numbers are measured in: the same picture, `width` by `height` units."""

    name: str
    """"original" or "resized" pixels, or "thousand"."""
    width: int
    height: int


def thousand() -> Space:
    """The frame of 0 to 1000, whatever the picture's size."""
    return Space("thousand", 1000, 1000)


class Box(NamedTuple):
    """A labelled rectangle: left and top edge, right and bottom edge, in units of its space."""

    label: str
    x0: Number
    y0: Number
    x1: Number
    y1: Number
    space: Space

    @property
    def corners(self) -> tuple[Number, Number, Number, Number]:
        """x0, y0, x1, y1."""
        return self.x0, self.y0, self.x1, self.y1

    @property
    def notation(self) -> str:
        """The study's notation: `[x0,y0,x1,y1 label]`, coordinates truncated to integers."""
        numbers = ",".join(str(int(corner)) for corner in self.corners)
        return f"[{numbers} {self.label}]"

    @property
    def area(self) -> float:
        """Area in square units; 0 if the edges are inverted."""
        return float(max(self.x1 - self.x0, 0) * max(self.y1 - self.y0, 0))

    @property
    def covers_image(self) -> bool:
        """True if the box covers nearly all of the picture."""
        return self.area > WHOLE_IMAGE * self.space.width * self.space.height


def truncate(box: Box) -> Box:
    """Returns the box in whole units, as `notation` writes it."""
    return box._replace(**{name: int(getattr(box, name)) for name in ("x0", "y0", "x1", "y1")})


def from_xywh(label: str, xywh: Sequence[Number], space: Space) -> Box:
    """Returns the box of left, top, width, height.

    Raises:
        ValueError: not four numbers.
    """
    if len(xywh) != 4:
        raise ValueError(f"box {list(xywh)} of {label!r} has {len(xywh)} numbers; give x, y, w, h")
    x, y, w, h = xywh
    return Box(label, x, y, x + w, y + h, space)


def convert(box: Box, space: Space) -> Box:
    """Returns the same rectangle in another frame of the same picture."""
    if box.space == space:
        return box  # 30 / 427 * 427 is 29.999999999999996, which truncates to 29
    wide, high = box.space.width, box.space.height
    x0, x1 = (x / wide * space.width for x in (box.x0, box.x1))
    y0, y1 = (y / high * space.height for y in (box.y0, box.y1))
    return Box(box.label, x0, y0, x1, y1, space)


def iou(one: Box, other: Box) -> float:
    """Returns the intersection over union, 0..1, of two boxes of one frame.

    Raises:
        ValueError: they are of two frames.
    """
    return float(_ious(_corners([one], other.space), other)[0])


def match(found: Sequence[Box], gold: Sequence[Box]) -> list[tuple[int, int, float]]:
    """Matches boxes one to one, for the largest total IoU.

    A found box that covers nearly the whole picture matches only a gold box that does too.

    Returns:
        (index of the found box, index of the gold box, IoU) of each pair that overlaps.

    Raises:
        ValueError: boxes of two frames.
    """
    from scipy.optimize import linear_sum_assignment  # takes 0.4 s to import

    if not found or not gold:
        return []
    corners = _corners([*found, *gold], gold[0].space)[:, : len(found)]
    whole = np.array([box.covers_image for box in found])
    ious = np.stack([_ious(corners, g) * (g.covers_image | ~whole) for g in gold], axis=1)
    # a reply may hold 100,000 boxes; those that overlap no gold box are in no pair
    rows = np.flatnonzero(ious.any(axis=1))
    pairs = zip(*linear_sum_assignment(ious[rows], maximize=True), strict=True)
    matched = [(int(rows[f]), int(g)) for f, g in pairs]
    return [(f, g, float(ious[f, g])) for f, g in matched if ious[f, g] > 0]


def _corners(boxes: Sequence[Box], space: Space) -> np.ndarray:
    """Returns x0, y0, x1, y1 of boxes of one frame, float64 [4 N]."""
    if other := {box.space for box in boxes} - {space}:
        raise ValueError(
            f"boxes of {other.pop()} and {space} cannot be compared; boxes.convert one"
        )
    return np.array([box.corners for box in boxes], np.float64).T


def _ious(corners: np.ndarray, other: Box) -> np.ndarray:
    """Returns the intersection over union of each box, by its corners [4 N], with another."""
    x0, y0, x1, y1 = corners
    width = np.minimum(x1, other.x1) - np.maximum(x0, other.x0)
    height = np.minimum(y1, other.y1) - np.maximum(y0, other.y0)
    common = np.maximum(width, 0) * np.maximum(height, 0)
    areas = np.maximum(x1 - x0, 0) * np.maximum(y1 - y0, 0)
    union = areas + other.area - common
    return np.divide(common, union, out=np.zeros_like(union), where=union > 0)


class Sight(NamedTuple):
    """The size to which a model resizes pictures: multiples of a cell, within two bounds."""

    min_pixels: int = 3136
    max_pixels: int = 3_686_400
    cell: int = 28
    """Pixels along the side of the square that one placeholder token stands for."""

    def space(self, picture: Space) -> Space:
        """Returns the frame of the resized picture; raises as `smart_resize`."""
        height, width = smart_resize(
            picture.height,
            picture.width,
            min_pixels=self.min_pixels,
            max_pixels=self.max_pixels,
            multiple=self.cell,
        )
        return Space("resized", width, height)


@functools.lru_cache(maxsize=1024)  # a set's pictures share sizes, and each record asks four times
def smart_resize(
    height: int,
    width: int,
    *,
    min_pixels: int,
    max_pixels: int,
    multiple: int = 28,
    widen: bool = True,
) -> tuple[int, int]:
    """Returns height and width as multiples of `multiple`, of about the same shape, in the bounds.

    `widen` rounds a side below half of `multiple` up before the area is compared with the bounds,
    as qwen_vl_utils does: 5 x 900 becomes 28 x 896. Transformers' processor does not: 28 x 756.
    All other pictures have the same size in both.

    Raises:
        ValueError: one side is more than 200 times the other.
    """
    if max(height, width) > 200 * min(height, width):
        raise ValueError(
            f"a picture of {width} x {height} pixels is more than 200 times as long as it is wide; "
            "crop it, or leave it out"
        )
    # round() rounds halves to even: 42 pixels are 1.5 times 28 and become 56, and so do 70
    whole = (round(side / multiple) * multiple for side in (height, width))
    rows, columns = (max(multiple if widen else 0, side) for side in whole)
    if rows * columns > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rows, columns = (
            max(multiple, math.floor(side / shrink / multiple) * multiple)
            for side in (height, width)
        )
    elif rows * columns < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rows, columns = (math.ceil(side * grow / multiple) * multiple for side in (height, width))
    return rows, columns


# ---- boxes in text -------------------------------------------------------------------------------

# Each pattern reads a box in one pass: no part of it gives back what it took (`*+`, `++`). With
# plain `*`, "[1,2,3,4" and 1,600 spaces took 1.3 s, and eight times that for twice as many.
_NUMBER = r"\s*+([+-]?(?:[0-9]{1,9}+(?:\.[0-9]{0,9}+)?+|\.[0-9]{1,9}+))"
_LENIENT = re.compile(r"\[" + r"\s*+,".join([_NUMBER] * 4) + r"([^\[\]]*+)\]")
# a label follows a space, or a comma if it is not a fifth number
_LABEL = re.compile(r"\s*+,\s*+(?!\d)|\s++(?!,)|\Z")
_DIGITS = r"(\d{1,4300}+)"  # Python parses no longer ones
_STRICT = re.compile(r"\[" + ",".join([_DIGITS] * 4) + r"\s([^\[\]]++)\]")


def parse(text: str, space: Space) -> list[Box]:
    """Returns every box written in `text`, in order, in units of `space`.

    Boxes: `[1,2,3,4 car]`, `[1, 2.5, 3, 4, car]`, `[ 1,2,3,4 ]` (label ""). Not boxes:
    `[1,2,3,4,5]`, `(1,2,3,4)`. Two boxes of one label are two.
    """
    return [
        Box(rest[label.end() :].strip(), float(x0), float(y0), float(x1), float(y1), space)
        for x0, y0, x1, y1, rest in _LENIENT.findall(text)
        if (label := _LABEL.match(rest))
    ]


def parse_reference(text: str) -> dict[str, tuple[int, int, int, int]]:
    """Returns the boxes that the study's rewards read: lower-case label -> its last box.

    Only `[x0,y0,x1,y1 label]` without spaces after commas, whole numbers, no sign.
    """
    return {
        found[5].strip().lower(): tuple(int(found[i]) for i in range(1, 5))
        for found in _STRICT.finditer(text)
    }
