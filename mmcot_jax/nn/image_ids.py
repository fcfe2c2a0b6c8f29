"""Base class of the renderers of backbones whose images are ids. Host only, no jax.

Axes: T time, K ids of an image.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from mmcot_jax.example import Example, Picture, Reply, Row, Segment
from mmcot_jax.nn.words import TextEncoder


class ImageIdRenderer:
    """Base class of a renderer: interleaved segments <-> ids.

    An image is `boi`, `image_len` ids, `eoi`. Each stretch of text is tokenised by itself; a mark
    spelled in it is its letters. A subclass also has `preprocess`, which turns an image into the
    pixels its tokenizer takes, and `is_text`.
    """

    tokenizer: Tokenizer
    image_len: int
    first_image: int
    """Id of code 0; the others follow it."""
    boi: int
    eoi: int
    eos_ids: tuple[int, ...]
    """Ids that end a reply; a supervised row ends in the first."""
    begin_ids: tuple[int, ...] = ()
    """Ids that every row begins with."""
    learn: str = "chain"
    """"chain": rationale and end of text; "all": every token but the first."""
    eos: bool = True
    """True if a supervised row ends in EOS."""

    def preprocess(self, image: Any) -> np.ndarray:
        """An image -> uint8 [h w 3]."""
        raise NotImplementedError

    def is_text(self, vocab: int) -> np.ndarray:
        """bool [V]: ids of the tokenizer that may stand in text."""
        raise NotImplementedError

    @cached_property
    def _words(self) -> TextEncoder:
        ids = self.tokenizer.get_vocab(with_added_tokens=True).values()
        return TextEncoder(self.tokenizer, self.is_text(max(ids) + 1))

    def prompt(self, example: Example) -> Row:
        """Returns the question, up to where the model begins to write."""
        return self._row(example, ())

    def supervise(self, example: Example) -> Row:
        """Returns the question, the chain and the end of text."""
        return self._row(example, example.rationale, end=self.eos)

    def read(self, ids: np.ndarray) -> Reply:
        """Returns a reply up to EOS; an image cut short is a picture of fewer ids.

        All ids between BOI and EOI are the picture's, even those that are no image ids. A begin
        mark is left out; an EOI or an image id within text appears by its name.
        """
        segments: list[str | Picture] = []
        text: list[int] = []

        def flush():
            if text:
                segments.append(self.tokenizer.decode(text, skip_special_tokens=False))
                text.clear()

        # some ids are looked up by name: once, not per token
        boi, eoi, eos, begin = self.boi, self.eoi, self.eos_ids, self.begin_ids
        # an end within an image ends the reply as well
        rest = takewhile(lambda token: token not in eos, np.asarray(ids).tolist())
        for token in rest:
            if token == boi:
                flush()
                picture = takewhile(lambda token: token != eoi, rest)
                segments.append(Picture(np.array(list(picture), np.int32)))
            elif token not in begin:
                text.append(token)
        flush()
        return Reply(tuple(segments))

    def _row(self, example: Example, rationale: Sequence[Segment], end: bool = False) -> Row:
        tokens = list(self.begin_ids)
        images: list[np.ndarray] = []
        starts: list[int] = []
        given = 0
        for number, segment in enumerate((*example.prompt, *rationale)):
            if number == len(example.prompt):
                given = len(tokens)
            ids = self._ids(segment, example.id)
            if not isinstance(segment, str | Picture):
                starts.append(len(tokens) + 1)
                images.append(self.preprocess(segment))
            tokens += ids
        given = given if rationale else len(tokens)
        tokens += self.eos_ids[:1] if end else ()
        return Row(
            id=example.id,
            tokens=np.array(tokens, np.int32),
            positions=np.arange(len(tokens), dtype=np.int32)[None],
            loss=np.arange(len(tokens)) >= (1 if self.learn == "all" else given),
            images=tuple(images),
            starts=tuple(starts),
        )

    def _ids(self, segment: Segment, name: str) -> list[int]:
        if isinstance(segment, str):
            return self._words(segment)
        known = isinstance(segment, Picture)
        ids = segment.ids.tolist() if known else [self.first_image] * self.image_len
        return [self.boi, *ids, self.eoi]
