"""Chameleon's words: text chunks by the tokenizer, pictures between their marks. Host only, no jax.

Axes: T time, K ids of a picture, V vocabulary.
"""

import dataclasses
import pathlib
from itertools import takewhile

import numpy as np
from tokenizers import Tokenizer

from mmcot_jax.example import Example, Picture, Reply, Row, Segment
from mmcot_jax.models.chameleon.preprocess import preprocess

EOS, PAD = 2, 1
FIRST_IMAGE = 4
"""Token id of code 0: ids 0..3 are begin, pad, end and unknown."""
LEARN = ("chain", "all")


@dataclasses.dataclass(frozen=True, eq=False)
class ChameleonRenderer:
    """Interleaved segments <-> ids.

    A picture is BOI, `image_len` ids, EOI. Each stretch of text is tokenised by itself, without
    begin or end marks, as the study did.
    """

    tokenizer: Tokenizer
    codes: int
    """Size of the VQGAN's codebook."""
    image_len: int
    resolution: int
    variant: str = "native"
    """Of the preprocessing."""
    learn: str = "chain"
    """"chain": rationale and end of text; "all": every token (the study's loss)."""
    eos: bool = True
    """Whether a supervised row ends in EOS (the study's did not)."""

    def __post_init__(self):
        """Raises ValueError for an unknown `learn`."""
        if self.learn not in LEARN:
            raise ValueError(f"sft.learn is {self.learn!r}; choose {' or '.join(LEARN)}")

    @property
    def eoi(self) -> int:
        """End of image: the id after the last code."""
        return FIRST_IMAGE + self.codes

    @property
    def boi(self) -> int:
        """Begin of image."""
        return FIRST_IMAGE + self.codes + 1

    def prompt(self, example: Example) -> Row:
        """The question, up to where the model begins to write."""
        return self._row(example, example.prompt, ())

    def supervise(self, example: Example) -> Row:
        """The question, the chain and EOS."""
        return self._row(example, example.prompt, example.rationale, end=self.eos)

    def read(self, ids: np.ndarray) -> Reply:
        """What was written, up to EOS; an image cut short stays a picture with fewer ids."""
        segments: list[str | Picture] = []
        text: list[int] = []

        def flush():
            if text:
                segments.append(self.tokenizer.decode(text, skip_special_tokens=False))
                text.clear()

        # an end within a picture ends the reply as well
        rest = takewhile(lambda token: token != EOS, np.asarray(ids).tolist())
        for token in rest:
            if token == self.boi:
                flush()
                picture = takewhile(lambda token: token != self.eoi, rest)
                segments.append(Picture(np.array(list(picture), np.int32)))
            else:
                text.append(token)
        flush()
        return Reply(tuple(segments))

    def is_text(self, vocab: int) -> np.ndarray:
        """bool [V]: ids the tokenizer owns that may stand in text.

        Not pictures' ids, and no mark: marks are written `<...>`.
        """
        legal = np.zeros(vocab, bool)
        for token, id in self.tokenizer.get_vocab().items():
            mark = token.startswith("<") and token.endswith(">") and len(token) > 2
            legal[id] = not (token.startswith("IMGIMG") or mark)
        legal[: self.boi + 1] = False
        return legal

    def _row(self, example: Example, prompt, rationale, end: bool = False) -> Row:
        tokens: list[int] = []
        images: list[np.ndarray] = []
        starts: list[int] = []
        given = 0
        for number, segment in enumerate((*prompt, *rationale)):
            if number == len(prompt):
                given = len(tokens)
            if not isinstance(segment, str | Picture):
                starts.append(len(tokens) + 1)
                images.append(preprocess(segment, self.resolution, variant=self.variant))
            tokens += self._ids(segment)
        given = given if rationale else len(tokens)
        tokens += [EOS] * end
        learned = np.arange(len(tokens)) >= (1 if self.learn == "all" else given)
        return Row(
            id=example.id,
            tokens=np.array(tokens, np.int32),
            positions=np.arange(len(tokens), dtype=np.int32)[None],
            loss=learned,
            images=tuple(images),
            starts=tuple(starts),
        )

    def _ids(self, segment: Segment) -> list[int]:
        if isinstance(segment, str):
            return self.tokenizer.encode(segment, add_special_tokens=False).ids
        known = isinstance(segment, Picture)
        ids = segment.ids.tolist() if known else [FIRST_IMAGE] * self.image_len
        return [self.boi, *ids, self.eoi]


def read_tokenizer(path: str | pathlib.Path) -> Tokenizer:
    """A tokenizer.json, or the folder that holds one.

    Raises:
        ValueError: nothing there, or not a tokenizer.
    """
    path = pathlib.Path(path)
    folder = path.is_dir()
    names = ("tokenizer.json", "tokenizer/text_tokenizer.json", "text_tokenizer.json")
    found = [path / n for n in names if (path / n).is_file()] if folder else [path]
    if not found or not found[0].is_file():
        raise ValueError(
            f"model.tokenizer: no tokenizer.json at {path}; give the file, or the folder that "
            "Anole's or Chameleon's release was unpacked to"
        )
    try:
        return Tokenizer.from_file(str(found[0]))
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ValueError(f"model.tokenizer: {found[0]} is not a tokenizer.json ({error})") from None
