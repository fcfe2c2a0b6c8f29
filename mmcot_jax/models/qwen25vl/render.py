"""Qwen2.5-VL's renderer: chat template, images as placeholders, positions on three axes.

Host only, no jax. Axes: T time, V vocabulary, A = 3 position axes (frame, row, column).
"""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby, takewhile

import numpy as np
from tokenizers import Tokenizer

from mmcot_jax.boxes import Sight
from mmcot_jax.errors import TooLong, check_choice
from mmcot_jax.example import Example, Picture, Reply, Row, Segment
from mmcot_jax.models.qwen25vl.config import VisionConfig
from mmcot_jax.models.qwen25vl.preprocess import VARIANTS, preprocess, to_windows
from mmcot_jax.nn.words import TextEncoder

LEARN = ("chain", "all")
SYSTEM = "You are a helpful assistant."
"""The template's system message for a conversation without one."""
MARKS = {
    "begin": "<|im_start|>",
    "end": "<|im_end|>",
    "end_of_text": "<|endoftext|>",
    "open": "<|vision_start|>",
    "close": "<|vision_end|>",
    "pad": "<|image_pad|>",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Qwen25VLRenderer:
    """Interleaved segments <-> ids.

    Text is never read as marks: a mark spelled in a question is its letters. Images are where the
    example's segments put them.
    """

    tokenizer: Tokenizer
    vision: VisionConfig
    min_pixels: int
    max_pixels: int
    context: int
    """Longest row with images, in tokens."""
    variant: str = "processor"
    """Variant of the preprocessing."""
    system: str = ""
    """System message; "": the template's own."""
    learn: str = "chain"
    """"chain": rationale and end of text; "all": every token but images'."""
    eos: bool = True
    """True if a supervised row ends in EOS."""
    ids: dict[str, int] = dataclasses.field(init=False)
    """Ids of `MARKS`, by their names."""

    def __post_init__(self):
        """Raises ValueError for unknown options and for a tokenizer without the marks."""
        check_choice("sft.learn", self.learn, LEARN)
        check_choice("model.preprocess", self.variant, VARIANTS)
        if not 0 < self.min_pixels <= self.max_pixels:
            raise ValueError(
                f"model.min_pixels is {self.min_pixels} and model.max_pixels {self.max_pixels}; "
                "give numbers of pixels, the first no larger"
            )
        ids = {name: self.tokenizer.token_to_id(mark) for name, mark in MARKS.items()}
        if absent := [MARKS[name] for name, id in ids.items() if id is None]:
            raise ValueError(
                f"model.tokenizer has no {', '.join(absent)}; give the tokenizer.json of "
                "Qwen2.5-VL's release"
            )
        object.__setattr__(self, "ids", ids)

    @property
    def eos_ids(self) -> tuple[int, int]:
        """Ids that end a reply: end of turn, end of text."""
        return self.ids["end"], self.ids["end_of_text"]

    @property
    def sight(self) -> Sight:
        """The sizes at which the model gets images; tasks state boxes in them."""
        return Sight(self.min_pixels, self.max_pixels, self.vision.cell)

    def prompt(self, example: Example) -> Row:
        """Returns the conversation, up to where the model begins to write."""
        return self._row(example, ())

    def supervise(self, example: Example) -> Row:
        """Returns the conversation, the chain and EOS."""
        return self._row(example, example.rationale, end=self.eos)

    def read(self, ids: np.ndarray) -> Reply:
        """Returns a reply up to its first EOS, or a whole conversation with marks and images."""
        tokens = np.asarray(ids).tolist()
        if self.ids["begin"] not in tokens:
            ends = self.eos_ids
            tokens = list(takewhile(lambda token: token not in ends, tokens))
        segments: list[str | Picture] = []
        for image, run in groupby(tokens, lambda token: token == self.ids["pad"]):
            part = list(run)
            if image:
                segments.append(Picture(np.array(part, np.int32)))
            elif text := self.tokenizer.decode(part, skip_special_tokens=False):
                segments.append(text)
        return Reply(tuple(segments))

    def is_text(self, vocab: int) -> np.ndarray:
        """bool [V]: ids of the tokenizer that may stand in text; no marks."""
        legal = np.zeros(vocab, bool)
        legal[list(self.tokenizer.get_vocab(with_added_tokens=True).values())] = True
        for id, token in self.tokenizer.get_added_tokens_decoder().items():
            mark = token.content.startswith("<|") and token.content.endswith("|>")
            legal[id] = not (token.special or mark)
        legal[list(self.ids.values())] = False
        return legal

    def _row(self, example: Example, rationale: Sequence[Segment], end: bool = False) -> Row:
        if any(not isinstance(segment, str) for segment in rationale):
            raise ValueError(
                f"record {example.id!r} has an image in its rationale; Qwen2.5-VL writes words "
                "only: take a textual chain"
            )
        tokens, images, starts = self._conversation(example)
        given = len(tokens)
        if rationale:
            tokens += self._words("".join(rationale))
        tokens += [self.ids["end"]] * end
        self._check_room(example, tokens, images)
        ids = np.array(tokens, np.int32)
        grids = [self._grid(image) for image in images]
        learned = np.arange(len(ids)) >= (given if rationale else len(ids) - end)
        if self.learn == "all":
            learned = (np.arange(len(ids)) > 0) & (ids != self.ids["pad"])
        return Row(
            id=example.id,
            tokens=ids,
            positions=positions(len(ids), starts, grids),
            loss=learned,
            windows=to_windows(images, starts, len(ids), self.vision.cells, self.vision.cell),
        )

    def _conversation(self, example: Example) -> tuple[list[int], list[np.ndarray], list[int]]:
        begin, end = self.ids["begin"], self.ids["end"]
        newline, system, assistant = self._template
        tokens = [begin, *system, end, *newline, begin]
        images: list[np.ndarray] = []
        starts: list[int] = []
        text = "user\n"
        for segment in example.prompt:
            if isinstance(segment, str):
                text += segment
                continue
            tokens += [*self._words(text), self.ids["open"]]
            text = ""
            images.append(self._image(example, segment))
            starts.append(len(tokens))
            h, w = self._grid(images[-1])
            tokens += [self.ids["pad"]] * (h * w) + [self.ids["close"]]
        tokens += [*self._words(text), end, *newline, begin, *assistant]
        return tokens, images, starts

    @cached_property
    def _template(self) -> tuple[list[int], ...]:
        """The ids of the template's own text, the same in every row."""
        return tuple(map(self._words, ("\n", f"system\n{self.system or SYSTEM}", "assistant\n")))

    @cached_property
    def _words(self) -> TextEncoder:
        ids = self.tokenizer.get_vocab(with_added_tokens=True).values()
        return TextEncoder(self.tokenizer, self.is_text(max(ids) + 1))

    def _image(self, example: Example, segment: Segment) -> np.ndarray:
        if isinstance(segment, Picture):
            raise ValueError(
                f"record {example.id!r} has a picture given by ids; Qwen2.5-VL sees pixels only: "
                "give the image"
            )
        try:
            return preprocess(
                segment,
                min_pixels=self.min_pixels,
                max_pixels=self.max_pixels,
                factor=self.vision.cell,
                variant=self.variant,
            )
        except ValueError as error:
            raise ValueError(f"record {example.id!r}: {error}") from None

    def _grid(self, image: np.ndarray) -> tuple[int, int]:
        """Returns rows and columns of cells."""
        return image.shape[0] // self.vision.cell, image.shape[1] // self.vision.cell

    def _check_room(self, example: Example, tokens: Sequence[int], images) -> None:
        if len(tokens) <= self.context or not images:
            return
        cells = sum(h * w for h, w in map(self._grid, images))
        room = max(self.context - (len(tokens) - cells), 0) // len(images)
        advice = (
            f"set model.max_pixels to {room * self.vision.cell**2} or less"
            if room
            else "shorten its text"
        )
        raise TooLong(
            f"record {example.id!r} is {len(tokens)} tokens, {cells} of them of its {len(images)} "
            f"images, and model.context is {self.context}; {advice}, or raise model.context"
        )


def positions(length: int, starts: Sequence[int], grids: Sequence[tuple[int, int]]) -> np.ndarray:
    """Returns int32 [3 T], M-RoPE: each token's position in time, down and across.

    A word has the same position on all axes. An image's cells have the position where the image
    begins, plus nothing, their row, their column; the next token goes on after the largest.
    `starts` are the images' first placeholders, `grids` their rows and columns of cells.

        a image of 2 x 3   b       0 | 1 1 1 1 1 1 | 4
                                   0 | 1 1 1 2 2 2 | 4
                                   0 | 1 2 3 1 2 3 | 4

    Source: arXiv 2409.12191, section 2.1.
    """
    out = np.empty((3, length), np.int32)
    token, number = 0, 0
    for start, (h, w) in zip(starts, grids, strict=True):
        out[:, token:start] = number + np.arange(start - token)
        number += start - token
        row, column = np.indices((h, w)).reshape(2, -1)
        out[:, start : start + h * w] = number + np.stack([0 * row, row, column])
        token, number = start + h * w, number + max(h, w)
    out[:, token:] = number + np.arange(length - token)
    return out
