"""Images and texts as CLIP takes them. Host only, no jax.

Axes: S height and width, T tokens.
"""

import json
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from mmcot_jax import textfile
from mmcot_jax.nn.pixels import CLIP_MEAN, CLIP_STD, to_pillow
from mmcot_jax.nn.words import TextEncoder

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def preprocess(image: Image.Image | np.ndarray, size: int) -> np.ndarray:
    """Returns normalised pixels, float32 [S S 3]: shorter side resized bicubically, centre cut."""
    image = to_pillow(image).convert("RGB")
    width, height = image.size
    shorter = min(width, height)
    image = image.resize((size * width // shorter, size * height // shorter), Image.BICUBIC)
    left, top = ((side - size) // 2 for side in image.size)
    image = image.crop((left, top, left + size, top + size))
    x = np.asarray(image, np.float32) / 255
    return ((x - np.array(CLIP_MEAN)) / np.array(CLIP_STD)).astype(np.float32)


class Words:
    """A CLIP's tokenizer."""

    def __init__(self, tokenizer: Tokenizer, pad: str, positions: int):
        self._positions = positions
        self._begin, self._end = (tokenizer.token_to_id(x) for x in (BEGIN, END))
        self._pad = tokenizer.token_to_id(pad)
        is_text = np.ones(max(tokenizer.get_vocab().values()) + 1, bool)
        is_text[[self._begin, self._end]] = False
        self._encode = TextEncoder(tokenizer, is_text)

    def ids(self, texts: Sequence[str]) -> np.ndarray:
        """Returns int32 [N T], padded on the right; a longer text loses its last tokens.

        A mark spelled in a text is encoded by its letters: it would end the text for the tower.
        """
        made = np.full((len(texts), self._positions), self._pad, np.int32)
        for row, text in zip(made, texts, strict=True):
            own = self._encode(text)
            own = [self._begin, *own[: self._positions - 2], self._end]
            row[: len(own)] = own
        return made


def read_words(folder: pathlib.Path, positions: int) -> Words:
    """Reads tokenizer.json, or vocab.json and merges.txt, of a folder.

    Raises:
        ValueError: neither is there, or a tokenizer without CLIP's marks.
    """
    file, vocabulary, merges = (
        folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt")
    )
    if file.is_file():
        tokenizer = Tokenizer.from_str(textfile.read_text(file))
        tokenizer.no_padding()
        tokenizer.no_truncation()
    elif vocabulary.is_file() and merges.is_file():
        tokenizer = _from_vocabulary(vocabulary, merges)
    else:
        raise ValueError(
            f"no tokenizer.json, and no vocab.json with merges.txt, in {folder}; fetch the "
            "tokenizer of this CLIP"
        )
    pad = _pad(folder)
    missing = [x for x in (BEGIN, END, pad) if tokenizer.token_to_id(x) is None]
    if missing:
        raise ValueError(f"the tokenizer in {folder} has no {missing[0]!r}; give a CLIP's")
    return Words(tokenizer, pad, positions)


def _from_vocabulary(vocabulary: pathlib.Path, merges: pathlib.Path) -> Tokenizer:
    ids = json.loads(textfile.read_text(vocabulary))
    lines = textfile.read_text(merges).split("\n")
    pairs = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    bpe = models.BPE(ids, pairs, end_of_word_suffix="</w>", unk_token=END, fuse_unk=False)
    tokenizer = Tokenizer(bpe)
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), spaces, normalizers.Lowercase()]
    )
    split = pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


def _pad(folder: pathlib.Path) -> str:
    """The padding token: the end of text, or what the tokenizer's settings name."""
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            found = json.loads(textfile.read_text(folder / name)).get("pad_token")
            if found:
                return found["content"] if isinstance(found, dict) else found
    return END
