"""SEED-LLaMA's words: text, and pictures between `<img>` and `</img>`. Host only, no jax.

Without pictures these are the words of any LLaMA. Axes: T time, K ids of a picture, V vocabulary.
"""

import dataclasses
import pathlib
from itertools import takewhile

import numpy as np
from tokenizers import AddedToken, Tokenizer

from mmcot_jax.example import Example, Picture, Reply, Row, Segment
from mmcot_jax.models.seed_llama.preprocess import preprocess

BOI, EOI = "<img>", "</img>"
BEGIN = ("<s>",)
END = ("</s>", "<|im_end|>", "<|endoftext|>")
"""Ends of text that tokenizers of this family have; those that are there all end a reply."""


@dataclasses.dataclass(frozen=True, eq=False)
class SeedRenderer:
    """Interleaved segments <-> ids.

    A row begins with `<s>` where the tokenizer has it. A picture is `<img>`, `image_len` ids,
    `</img>`. Each stretch of text is tokenised by itself, so that it begins with a space where the
    tokenizer puts one before words, as the original's does behind every picture. Picture ids and
    tags written out in a text are read as what they name.
    """

    tokenizer: Tokenizer
    codes: int = 0
    """Size of SEED's codebook; 0: no pictures."""
    image_len: int = 0
    resolution: int = 0
    variant: str = "crop"
    """Of the preprocessing."""

    @property
    def first_image(self) -> int:
        """Id of code 0; the others follow it."""
        return self.tokenizer.token_to_id(image_name(0)) if self.codes else -1

    @property
    def boi(self) -> int:
        """Begin of image; -1 without pictures."""
        return self.tokenizer.token_to_id(BOI) if self.codes else -1

    @property
    def eoi(self) -> int:
        """End of image; -1 without pictures."""
        return self.tokenizer.token_to_id(EOI) if self.codes else -1

    @property
    def eos(self) -> tuple[int, ...]:
        """Ids that end a reply; the first is what a supervised row ends in."""
        return tuple(i for i in map(self.tokenizer.token_to_id, END) if i is not None)

    def prompt(self, example: Example) -> Row:
        """The question, up to where the model begins to write."""
        return self._row(example, example.prompt, ())

    def supervise(self, example: Example) -> Row:
        """The question, the chain and the end of text; chain and end are learned."""
        return self._row(example, example.prompt, example.rationale, end=True)

    def read(self, ids: np.ndarray) -> Reply:
        """What was written, up to an end of text; an image cut short is a picture of fewer ids.

        Whatever stands between the tags is the picture's, a wrong id too. A begin mark is not
        shown; a closing tag or a picture's id that stands in text is shown by its name.
        """
        segments: list[str | Picture] = []
        text: list[int] = []

        def flush():
            if text:
                segments.append(self.tokenizer.decode(text, skip_special_tokens=False))
                text.clear()

        boi, eoi, eos, begin = self.boi, self.eoi, self.eos, self._begin()
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

    def is_text(self, vocab: int) -> np.ndarray:
        """bool [V]: ids the tokenizer owns that may stand in text: no mark, tag or picture id."""
        legal = np.zeros(vocab, bool)
        legal[: self.tokenizer.get_vocab_size()] = True
        legal[list(self.tokenizer.get_added_tokens_decoder())] = False
        return legal

    def _begin(self) -> list[int]:
        return [i for i in map(self.tokenizer.token_to_id, BEGIN) if i is not None]

    def _row(self, example: Example, prompt, rationale, end: bool = False) -> Row:
        tokens = self._begin()
        images: list[np.ndarray] = []
        starts: list[int] = []
        given = 0
        for number, segment in enumerate((*prompt, *rationale)):
            if number == len(prompt):
                given = len(tokens)
            ids = self._ids(segment, example.id)
            if not isinstance(segment, str | Picture):
                starts.append(len(tokens) + 1)
                images.append(preprocess(segment, self.resolution, variant=self.variant))
            # a text that writes its own begin mark has one, not two
            tokens += ids[1:] if number == 0 and tokens == ids[:1] else ids
        given = given if rationale else len(tokens)
        tokens += self.eos[:1] if end else ()
        return Row(
            id=example.id,
            tokens=np.array(tokens, np.int32),
            positions=np.arange(len(tokens), dtype=np.int32)[None],
            loss=np.arange(len(tokens)) >= given,
            images=tuple(images),
            starts=tuple(starts),
        )

    def _ids(self, segment: Segment, name: str) -> list[int]:
        if isinstance(segment, str):
            return self.tokenizer.encode(segment, add_special_tokens=False).ids
        if not self.codes:
            raise ValueError(
                f"example {name} has a picture, but this model has none (model.seed is None); "
                "give it text alone"
            )
        known = isinstance(segment, Picture)
        ids = segment.ids.tolist() if known else [self.first_image] * self.image_len
        return [self.boi, *ids, self.eoi]


def image_name(code: int) -> str:
    """The token of a code: `<img_00042>`."""
    return f"<img_{code:05}>"


def with_pictures(tokenizer: Tokenizer, codes: int) -> Tokenizer:
    """The tokenizer with picture ids and tags, added behind its words where it lacks them.

    Raises:
        ValueError: a tokenizer that has them in another order.
    """
    names = [*map(image_name, range(codes)), BOI, EOI]
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in names])
    ids = [tokenizer.token_to_id(name) for name in (names[0], names[codes - 1], BOI, EOI)]
    if ids != [ids[0], ids[0] + codes - 1, ids[0] + codes, ids[0] + codes + 1]:
        raise ValueError(
            f"model.tokenizer: {names[0]}, {names[codes - 1]}, {BOI}, {EOI} have the ids {ids}; "
            f"SEED-LLaMA's follow one another, with model.seed.codes {codes} codes"
        )
    return tokenizer


def read_tokenizer(path: str | pathlib.Path) -> Tokenizer:
    """A tokenizer.json, or the folder that holds one.

    Raises:
        ValueError: nothing there, or not a tokenizer.
    """
    path = pathlib.Path(path)
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(
            f"model.tokenizer: no tokenizer.json at {path}; SEED-LLaMA's words are Llama 2's: give "
            "that tokenizer.json (its release has only tokenizer.model)"
        )
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ValueError(f"model.tokenizer: {file} is not a tokenizer.json ({error})") from None
