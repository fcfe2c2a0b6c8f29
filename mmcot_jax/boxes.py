"""Boxes of a picture: a label, four coordinates, and the frame they are measured in. Host only."""

from typing import NamedTuple


class Space(NamedTuple):
    """The frame a box's numbers are measured in: the same picture, `width` by `height` units."""

    name: str
    """"original" or "resized" pixels, or "thousand": 0 to 1000 both ways."""
    width: int
    height: int


class Box(NamedTuple):
    """A labelled rectangle, left and top edge, right and bottom edge, in units of its space."""

    label: str
    x0: float
    y0: float
    x1: float
    y1: float
    space: Space

    @property
    def note(self) -> str:
        """The study's notation in a chain: `[x0,y0,x1,y1 label]`, coordinates cut to integers."""
        return f"[{int(self.x0)},{int(self.y0)},{int(self.x1)},{int(self.y1)} {self.label}]"
