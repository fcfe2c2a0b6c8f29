"""Images and texts as CLIP takes them. Host only, no jax.

Axes: S height and width, T tokens.
"""

import json
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from mmcot_jax import hf_config, textfile
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


def check_processor(size: int, folder: pathlib.Path) -> None:
    """Compares a folder's image processor, if it has one, with what `preprocess` does.

    Raises:
        ValueError: lists what it does otherwise.
    """
    newer = hf_config.read(folder, "processor_config.json") or {}
    found = hf_config.read(folder, "preprocessor_config.json") or newer.get("image_processor") or {}
    shorter, crop = found.get("size"), found.get("crop_size")
    shorter = shorter.get("shortest_edge", shorter) if isinstance(shorter, Mapping) else shorter
    if isinstance(crop, Mapping) and crop.get("height") == crop.get("width"):
        crop = crop.get("height")
    there = {"size": shorter, "crop_size": crop} | {name: found.get(name) for name in _PROCESSOR}
    differ = [
        f"{name} is {value} there, here {own}"
        for name, own in ({"size": size, "crop_size": size} | _PROCESSOR).items()
        if (value := there[name]) is not None and not _same(value, own)
    ]
    if differ:
        raise ValueError(
            f"{folder} has images processed in another way: {'; '.join(differ)}; give a CLIP whose "
            "preprocessor_config.json has these values"
        )


_PROCESSOR: dict[str, Any] = {
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "resample": 3,  # bicubic
    "rescale_factor": 1 / 255,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
}


def _same(theirs: Any, own: Any) -> bool:
    if isinstance(own, tuple):
        return isinstance(theirs, list) and len(theirs) == len(own) and all(map(_same, theirs, own))
    return isinstance(theirs, int | float) and math.isclose(theirs, own, rel_tol=1e-6)


class Words:
    """A CLIP's tokenizer."""

    def __init__(self, tokenizer: Tokenizer, pad: str, positions: int):
        self._positions = positions
        self._begin, self._end = (tokenizer.token_to_id(x) for x in (BEGIN, END))
        self._pad = tokenizer.token_to_id(pad)
        self._largest = max(tokenizer.get_vocab().values())
        is_text = np.ones(self._largest + 1, bool)
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

    def check(self, vocab: int, eos: int | None, folder: pathlib.Path) -> None:
        """Checks that a tower with `vocab` ids reads texts at their end; `eos` is `read_eos`'s.

        Raises:
            ValueError: there are other ids, or the end is not the largest one, where it reads.
        """
        if self._largest >= vocab:
            raise ValueError(
                f"the tokenizer in {folder} has ids up to {self._largest}, and model.clip.vocab is "
                f"{vocab}; give the tokenizer of this CLIP"
            )
        if not self._largest == self._end == (self._end if eos is None else eos):
            other = "" if eos is None else f", and config.json has eos_token_id {eos}"
            raise ValueError(
                f"the tokenizer in {folder} has ids up to {self._largest}, {END} is {self._end}"
                f"{other}; give a CLIP whose texts end in the largest id"
            )


def read_words(folder: pathlib.Path, positions: int) -> Words:
    """Reads tokenizer.json, or vocab.json and merges.txt, of a folder.

    Raises:
        ValueError: neither is there, a file that cannot be read, or a tokenizer without CLIP's
            marks.
    """
    if positions < 2:
        raise ValueError(f"model.clip.positions is {positions}; give 2 or more, begin and end")
    file, vocabulary, merges = (
        folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt")
    )
    if file.is_file():
        tokenizer = _made(lambda: Tokenizer.from_str(textfile.read_text(file)), file)
        tokenizer.no_padding()
        tokenizer.no_truncation()
    elif vocabulary.is_file() and merges.is_file():
        tokenizer = _made(lambda: _from_vocabulary(vocabulary, merges), vocabulary)
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


def _made(make: Callable[[], Tokenizer], file: pathlib.Path) -> Tokenizer:
    try:
        return make()
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ValueError(f"{file} is no tokenizer of a CLIP ({error}); fetch it again") from None


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
            found = hf_config.read_json(folder / name).get("pad_token")
            if found:
                return found["content"] if isinstance(found, dict) else found
    return END
