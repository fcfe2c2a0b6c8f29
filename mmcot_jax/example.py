"""Questions, replies, rendered rows: what the host works with. numpy only, no jax.

Axes: T time, A position axes, K ids of a picture or cells of a window, H W pixels (W also
windows), s pixels along a cell, E embedding.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

IMAGE = "<image>"
"""What `Reply.text` has for a picture."""


class Picture(NamedTuple):
    """An image as token ids, with what they decode to once that is computed."""

    ids: np.ndarray
    """int32 [K], without the begin and end tokens."""
    pixels: np.ndarray | None = None
    """uint8 [H W 3]."""
    embedding: np.ndarray | None = None
    """float32 [E], unit norm."""
    clip: np.ndarray | None = None
    """float32 [E], unit norm: CLIP's embedding of the pixels."""

    @property
    def is_decoded(self) -> bool:
        """True if it has more than its ids."""
        return not (self.pixels is None and self.embedding is None and self.clip is None)


Segment = str | np.ndarray | Picture
"""Text, a uint8 [H W 3] image, or an image encoded as ids."""


class Example(NamedTuple):
    """One question. `prompt` and `rationale` interleave text and images, in reading order."""

    id: str
    prompt: tuple[Segment, ...]
    answer: str
    rationale: tuple[Segment, ...] = ()
    extra: Mapping[str, Any] = {}

    @property
    def without_pixels(self) -> "Example":
        """The example with empty arrays instead of images."""
        return self._replace(
            prompt=_without_pixels(self.prompt), rationale=_without_pixels(self.rationale)
        )


class Selected(Sequence[Example]):
    """Some of a sequence of examples, each made when it is indexed."""

    def __init__(self, examples: Sequence[Example], indices: Sequence[int]):
        self._examples, self._indices = examples, indices
        self._sized = getattr(examples, "sized", examples.__getitem__)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Example:
        return self._examples[self._indices[index]]

    def sized(self, index: int) -> Example:
        """The example with blank images of the same sizes, if the sequence can do that."""
        return self._sized(self._indices[index])


class Reply(NamedTuple):
    """The model's text and pictures, in order."""

    segments: tuple[str | Picture, ...]

    @property
    def text(self) -> str:
        """The text, with `<image>` for each picture."""
        return "".join(s if isinstance(s, str) else IMAGE for s in self.segments)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures, in order."""
        return tuple(s for s in self.segments if isinstance(s, Picture))

    @property
    def without_pixels(self) -> "Reply":
        """The reply with only the ids of its pictures."""
        return Reply(_without_pixels(self.segments))


def _without_pixels(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    return tuple(
        s if isinstance(s, str) else Picture(s.ids) if isinstance(s, Picture) else _NO_PIXELS
        for s in segments
    )


_NO_PIXELS = np.zeros((0, 0, 3), np.uint8)


class Windows(NamedTuple):
    """The images of a row, split into windows of K cells and concatenated.

    One placeholder token stands for one cell. In a batch each field has a leading axis of rows.
    """

    cells: np.ndarray
    """uint8 [W K s s 3], pixels."""
    at: np.ndarray
    """int32 [W K 2], row and column of each cell in its image; -1 is padding."""
    image: np.ndarray
    """int32 [W], index of each window's image in the row; -1 is padding."""
    source: np.ndarray
    """int32 [T], index of each token's cell over W K; -1 for text."""


class Row(NamedTuple):
    """An example in a backbone's token ids, unpadded."""

    id: str
    tokens: np.ndarray
    """int32 [T], with image placeholders at `starts`."""
    positions: np.ndarray
    """int32 [A T]."""
    loss: np.ndarray
    """bool [T], True for a token that is a target of the loss."""
    images: tuple[np.ndarray, ...] = ()
    """uint8 [H W 3] each, in the backbone's size; one per entry of `starts`."""
    starts: tuple[int, ...] = ()
    """The index in `tokens` of each image's first placeholder."""
    windows: Windows | None = None
    """Images of any size, for backbones that read pixels and have no image ids."""

    @property
    def image_count(self) -> int:
        """Number of images whose pixels are in the row."""
        return len(self.images) if self.windows is None else int(self.windows.image.max()) + 1


class Question(NamedTuple):
    """A question and its rendered prompt."""

    example: Example
    row: Row


class Answered(NamedTuple):
    """An example and a reply of the model."""

    example: Example
    """Without pixels: a thousand photographs are gigabytes."""
    reply: Reply
    prompt: str
    """The text of the rendered prompt, images as `<image>`."""
    tokens: int
    """Tokens of the reply, EOS included."""
    ended: bool
    """True if EOS ended the reply, False if the token budget did."""
    ids: np.ndarray | None = None
    """int32 [T], the tokens of the reply, EOS included."""
    prompt_pictures: tuple[str, ...] = ()
    """Names of the question's pictures, if they were saved."""


RewardFn = Callable[[Example, Reply], float | Sequence[tuple[int, int, float]] | None]
"""Returns a number, or parts (start, end, value) of the reply's text that sum to it, or None if the
question has nothing to score."""


@runtime_checkable
class Renderer(Protocol):
    """Renders examples for a backbone and reads its replies: numpy in, numpy out."""

    def prompt(self, example: Example) -> Row:
        """Returns the model's input."""
        ...

    def supervise(self, example: Example) -> Row:
        """Returns the prompt, the rationale and the end of text, with the loss mask."""
        ...

    def read(self, ids: np.ndarray) -> Reply:
        """Returns the text and pictures of ids, int32 [T]; never raises."""
        ...
