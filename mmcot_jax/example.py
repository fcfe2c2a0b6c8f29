"""Host nouns: questions, replies, rendered rows. numpy only, no jax.

Axes: T time, A position axes, K ids of a picture or cells of a window, H W pixels (W also
windows), s pixels along a cell, E embedding.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np


class Picture(NamedTuple):
    """An image as the model knows it: its ids always, pixels and embedding once painted."""

    ids: np.ndarray
    """int32 [K], token ids, without the begin and end marks."""
    pixels: np.ndarray | None = None
    """uint8 [H W 3]."""
    embedding: np.ndarray | None = None
    """float32 [E], unit norm."""


Segment = str | np.ndarray | Picture
"""A stretch of words, a uint8 [H W 3] image, or an image already turned into ids."""


class Example(NamedTuple):
    """One question. `prompt` and `rationale` interleave text and images, in reading order."""

    id: str
    prompt: tuple[Segment, ...]
    answer: str
    rationale: tuple[Segment, ...] = ()
    extra: Mapping[str, Any] = {}

    @property
    def without_pixels(self) -> "Example":
        """The same in words: its images are there, without their pixels."""
        return self._replace(
            prompt=_without_pixels(self.prompt), rationale=_without_pixels(self.rationale)
        )


class Reply(NamedTuple):
    """What the model wrote, in order."""

    segments: tuple[str | Picture, ...]

    @property
    def text(self) -> str:
        """The words, each picture shown as `<image>`."""
        return "".join(s if isinstance(s, str) else "<image>" for s in self.segments)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures, in order."""
        return tuple(s for s in self.segments if isinstance(s, Picture))

    @property
    def without_pixels(self) -> "Reply":
        """The same, of its pictures the ids alone."""
        return Reply(_without_pixels(self.segments))


def _without_pixels(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    return tuple(
        s if isinstance(s, str) else Picture(s.ids) if isinstance(s, Picture) else _NO_PIXELS
        for s in segments
    )


_NO_PIXELS = np.zeros((0, 0, 3), np.uint8)


class Windows(NamedTuple):
    """The images of a row, each cut into windows of K cells, all in one line.

    A cell is what one placeholder of the text stands for. In a batch each field has rows first.
    """

    cells: np.ndarray
    """uint8 [W K s s 3], pixels."""
    at: np.ndarray
    """int32 [W K 2], row and column of each cell in its image; -1 where there is no image."""
    image: np.ndarray
    """int32 [W], which of the row's images the window is of; -1 where it is of none."""
    source: np.ndarray
    """int32 [T], of each token the cell, counted over W K, that it stands for; -1: a word."""


class Row(NamedTuple):
    """An example in the words of one backbone, not yet padded."""

    id: str
    tokens: np.ndarray
    """int32 [T], image placeholders where `starts` points."""
    positions: np.ndarray
    """int32 [A T]."""
    loss: np.ndarray
    """bool [T], True where this token is learned (is a target)."""
    images: tuple[np.ndarray, ...] = ()
    """uint8 [H W 3] each, preprocessed to the backbone's size; one per entry of `starts`."""
    starts: tuple[int, ...] = ()
    """Where each image's placeholders begin in `tokens`."""
    windows: Windows | None = None
    """Images of any size, for backbones that see cells and have no ids for images."""

    @property
    def image_count(self) -> int:
        """Images in the row whose pixels it carries."""
        return len(self.images) if self.windows is None else int(self.windows.image.max()) + 1


class Question(NamedTuple):
    """A question and its rendered prompt."""

    example: Example
    row: Row


RewardFn = Callable[[Example, Reply], float | None]
"""A number, or None where the question has nothing to score."""


@runtime_checkable
class Renderer(Protocol):
    """The words of one backbone: numpy in, numpy out."""

    def prompt(self, example: Example) -> Row:
        """Everything the model is given."""
        ...

    def supervise(self, example: Example) -> Row:
        """The prompt, the rationale and the end of text, with the loss mask."""
        ...

    def read(self, ids: np.ndarray) -> Reply:
        """Ids int32 [T] -> text and pictures; never raises, whatever a model wrote."""
        ...
