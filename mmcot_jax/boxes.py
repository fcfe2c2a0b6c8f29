"""Boxes of a picture: a label, four coordinates, and the frame they are measured in. Host only.

The frames of one picture: its own pixels, the pixels it is resized to before the model sees it, and
0 to 1000 both ways. A box knows its frame, so two boxes are never compared across frames.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

WHOLE = 0.9
"""Share of the picture from which on a box says "somewhere"."""


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
    def note(self) -> str:
        """The study's notation in a chain: `[x0,y0,x1,y1 label]`, coordinates cut to integers."""
        numbers = ",".join(str(int(corner)) for corner in self.corners)
        return f"[{numbers} {self.label}]"

    @property
    def area(self) -> float:
        """Square units; 0 where the edges are the wrong way round."""
        return float(max(self.x1 - self.x0, 0) * max(self.y1 - self.y0, 0))

    @property
    def whole(self) -> bool:
        """Whether it covers nearly all of the picture."""
        return self.area > WHOLE * self.space.width * self.space.height


def cut(box: Box) -> Box:
    """The box as a chain writes it, in whole units."""
    return box._replace(**{name: int(getattr(box, name)) for name in ("x0", "y0", "x1", "y1")})


def from_xywh(label: str, xywh: Sequence[Number], space: Space) -> Box:
    """A box given as left, top, width, height.

    Raises:
        ValueError: not four numbers.
    """
    if len(xywh) != 4:
        raise ValueError(f"box {list(xywh)} of {label!r} has {len(xywh)} numbers; give x, y, w, h")
    x, y, w, h = xywh
    return Box(label, x, y, x + w, y + h, space)


def convert(box: Box, space: Space) -> Box:
    """The same rectangle in another frame of the same picture."""
    if box.space == space:
        return box  # 30 / 427 * 427 is 29.999999999999996, which is cut to 29
    wide, high = box.space.width, box.space.height
    x0, x1 = (x / wide * space.width for x in (box.x0, box.x1))
    y0, y1 = (y / high * space.height for y in (box.y0, box.y1))
    return Box(box.label, x0, y0, x1, y1, space)


class Sight(NamedTuple):
    """How large a model sees a picture; as it is, in multiples of a cell, within two bounds."""

    min_pixels: int = 3136
    max_pixels: int = 3_686_400
    cell: int = 28
    """Pixels along the side of what one placeholder stands for."""

    def space(self, picture: Space) -> Space:
        """The frame of a picture's pixels when the model sees it.

        Raises:
            ValueError: as `smart_resize`.
        """
        height, width = smart_resize(
            picture.height,
            picture.width,
            min_pixels=self.min_pixels,
            max_pixels=self.max_pixels,
            multiple=self.cell,
        )
        return Space("resized", width, height)


def smart_resize(
    height: int,
    width: int,
    *,
    min_pixels: int,
    max_pixels: int,
    multiple: int = 28,
    widen: bool = True,
) -> tuple[int, int]:
    """Height and width as multiples of `multiple`, with about the same shape, within the bounds.

    With `widen`, as qwen_vl_utils has it, a side below half of `multiple` counts as one before
    the area is looked at: 5 x 900 becomes 28 x 896. Transformers' processor does without, and
    makes it 28 x 756. All other pictures are alike.

    Raises:
        ValueError: a side above 200 times the other.
    """
    if max(height, width) > 200 * min(height, width):
        raise ValueError(
            f"a picture of {width} x {height} pixels is more than 200 times as long as it is wide; "
            "crop it, or leave it out"
        )
    # round() takes halves to the even number: 42 pixels are 1.5 times 28 and become 56, 70 too
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

_NUMBER = r"\s*([+-]?(?:[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9}))"
# a label follows after a space, or after a comma where it is no fifth number
_LABEL = r"(?:(?:\s*,\s*(?=[^\s\d])|\s+)([^\[\]]*?))?\s*\]"
_LENIENT = re.compile(r"\[" + r"\s*,".join([_NUMBER] * 4) + _LABEL)
_DIGITS = r"(\d{1,4300})"  # Python reads no longer ones
_STRICT = re.compile(r"\[" + ",".join([_DIGITS] * 4) + r"\s+([^\[\]]+?)\]")


def parse(text: str, space: Space) -> list[Box]:
    """Every box written in `text`, in order, numbers taken to be of `space`.

    `[1,2,3,4 car]`, `[1, 2.5, 3, 4, car]`, `[ 1,2,3,4 ]` (without a label: ""); several of one
    label are several. Not `[1,2,3,4,5]`, `(1,2,3,4)`.
    """
    return [
        Box(found[5] or "", *(float(found[i]) for i in range(1, 5)), space)
        for found in _LENIENT.finditer(text)
    ]


def parse_reference(text: str) -> dict[str, tuple[int, int, int, int]]:
    """The boxes the study's rewards read: lower-case label -> the last box of that label.

    Only `[x0,y0,x1,y1 label]` without spaces after commas, whole numbers, no sign.
    """
    return {
        found[5].strip().lower(): tuple(int(found[i]) for i in range(1, 5))
        for found in _STRICT.finditer(text)
    }
