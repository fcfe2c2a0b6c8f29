"""SEED-LLaMA's renderer: text, and images between `<img>` and `</img>`. Host only, no jax.

Without images it is the renderer of any LLaMA. Axes: V vocabulary.
"""

import dataclasses
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer

from mmcot_jax.example import Segment
from mmcot_jax.models.seed_llama.preprocess import preprocess
from mmcot_jax.nn.image_ids import ImageIdRenderer

BOI, EOI = "<img>", "</img>"
BEGIN = ("<s>", "<|begin_of_text|>")
END = ("</s>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>")
"""Ends of text in tokenizers of this family; those that a tokenizer has all end a reply."""


@dataclasses.dataclass(frozen=True, eq=False)
class SeedRenderer(ImageIdRenderer):
    """Interleaved segments <-> ids.

    A row begins with `<s>` where the tokenizer has it. Each stretch of text is tokenised by itself,
    so that it begins with a space where the tokenizer puts one before words, as the original's does
    after every image. Marks, tags and image ids spelled in a text are its letters.
    """

    tokenizer: Tokenizer
    codes: int = 0
    """Size of SEED's codebook; 0: no images."""
    image_len: int = 0
    resolution: int = 0
    variant: str = "crop"
    """Variant of the preprocessing."""

    @property
    def first_image(self) -> int:
        """Id of code 0; -1 without images."""
        return self.tokenizer.token_to_id(image_name(0)) if self.codes else -1

    @property
    def boi(self) -> int:
        """Begin of image; -1 without images."""
        return self.tokenizer.token_to_id(BOI) if self.codes else -1

    @property
    def eoi(self) -> int:
        """End of image; -1 without images."""
        return self.tokenizer.token_to_id(EOI) if self.codes else -1

    @property
    def begin_ids(self) -> tuple[int, ...]:
        """Ids that every row begins with."""
        return self._known(BEGIN)

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Ids that end a reply; a supervised row ends in the first."""
        return self._known(END)

    def _known(self, tokens: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(i for i in map(self.tokenizer.token_to_id, tokens) if i is not None)

    def preprocess(self, image: Any) -> np.ndarray:
        """Returns an image as a square at SEED's resolution."""
        return preprocess(image, self.resolution, variant=self.variant)

    def is_text(self, vocab: int) -> np.ndarray:
        """bool [V]: ids of the tokenizer that may stand in text: no mark, tag or image id."""
        legal = np.zeros(vocab, bool)
        legal[: self.tokenizer.get_vocab_size()] = True
        legal[list(self.tokenizer.get_added_tokens_decoder())] = False
        return legal

    def _ids(self, segment: Segment, name: str) -> list[int]:
        if not isinstance(segment, str) and not self.codes:
            raise ValueError(
                f"example {name} has an image, but this model has none (model.seed is None); "
                "give it text alone"
            )
        return super()._ids(segment, name)


def image_name(code: int) -> str:
    """Returns the token of a code: `<img_00042>`."""
    return f"<img_{code:05}>"


def with_pictures(tokenizer: Tokenizer, codes: int) -> Tokenizer:
    """Returns the tokenizer with image ids and tags, added after its words where it lacks them.

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
