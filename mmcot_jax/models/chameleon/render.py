"""Chameleon's renderer: text by the tokenizer, images between their marks. Host only, no jax.

Axes: V vocabulary.
"""

import dataclasses
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from mmcot_jax.errors import check_choice
from mmcot_jax.models.chameleon.config import EOS
from mmcot_jax.models.chameleon.preprocess import preprocess
from mmcot_jax.nn.image_ids import ImageIdRenderer

FIRST_IMAGE = 4
"""Token id of code 0: ids 0..3 are begin, pad, end and unknown."""
LEARN = ("chain", "all")
TOKENIZERS = ("tokenizer.json", "tokenizer/text_tokenizer.json", "text_tokenizer.json")
"""Names of the tokenizer's file in a folder of weights."""


@dataclasses.dataclass(frozen=True, eq=False)
class ChameleonRenderer(ImageIdRenderer):
    """Interleaved segments <-> ids, without begin or end marks around text, as in the study."""

    tokenizer: Tokenizer
    codes: int
    """Size of the VQGAN's codebook."""
    image_len: int
    resolution: int
    variant: str = "native"
    """Variant of the preprocessing."""
    learn: str = "chain"
    """"chain": rationale and end of text; "all": every token (the study's loss)."""
    eos: bool = True
    """True if a supervised row ends in EOS (the study's did not)."""
    first_image = FIRST_IMAGE
    eos_ids = (EOS,)

    def __post_init__(self):
        """Raises ValueError for an unknown `learn`."""
        check_choice("sft.learn", self.learn, LEARN)

    @property
    def eoi(self) -> int:
        """End of image: the id after the last code."""
        return FIRST_IMAGE + self.codes

    @property
    def boi(self) -> int:
        """Begin of image."""
        return FIRST_IMAGE + self.codes + 1

    def preprocess(self, image: Any) -> np.ndarray:
        """Returns the middle square of an image at the VQGAN's resolution."""
        return preprocess(image, self.resolution, variant=self.variant)

    def is_text(self, vocab: int) -> np.ndarray:
        """bool [V]: ids of the tokenizer that may stand in text.

        Neither image ids nor marks: marks are written `<...>`.
        """
        legal = np.zeros(vocab, bool)
        for token, id in self.tokenizer.get_vocab().items():
            mark = token.startswith("<") and token.endswith(">") and len(token) > 2
            legal[id] = not (token.startswith("IMGIMG") or mark)
        legal[: self.boi + 1] = False
        return legal
