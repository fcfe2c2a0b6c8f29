"""Texts -> CLIP's token ids. Host only, no jax. Axes: N texts, T tokens."""

import pathlib
from collections.abc import Sequence

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from mmcot_jax import hf, hf_config
from mmcot_jax.file_kind import file_kind
from mmcot_jax.nn.words import TextEncoder

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""Contractions, letters, single digits, runs of other signs."""


class ClipTokenizer:
    """Encodes texts as [start, words, end, padding], cut at `context` tokens."""

    def __init__(self, tokenizer: Tokenizer, context: int, pad: str = EOS):
        """`pad` is the token that fills a text up; its id does not change an embedding.

        Raises:
            ValueError: a tokenizer without CLIP's marks.
        """
        vocab = tokenizer.get_vocab(with_added_tokens=True)
        if absent := [token for token in (BOS, EOS, pad) if token not in vocab]:
            raise ValueError(f"the tokenizer lacks {', '.join(absent)}; give a CLIP's tokenizer")
        self.bos, self.eos, self.pad = (vocab[token] for token in (BOS, EOS, pad))
        self.size = max(vocab.values()) + 1
        self._context = context
        is_text = np.ones(self.size, bool)
        is_text[[self.bos, self.eos]] = False
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._encode = TextEncoder(tokenizer, is_text)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns int32 [N T], T the context; a mark spelled in a text is encoded by letters."""
        ids = np.full((len(texts), self._context), self.pad, np.int32)
        for row, text in zip(ids, texts, strict=True):
            words = [self.bos, *self._encode(text)[: self._context - 2], self.eos]
            row[: len(words)] = words
        return ids


def read(folder: pathlib.Path, context: int) -> ClipTokenizer:
    """Reads tokenizer.json, or vocab.json and merges.txt, of a folder.

    Raises:
        ValueError: none of them there, or files of another kind.
    """
    if (folder / "tokenizer.json").is_file():
        tokenizer = hf.read_tokenizer(folder, "give a CLIP's folder")
    else:
        absent = [name for name in ("vocab.json", "merges.txt") if not (folder / name).is_file()]
        if absent:
            raise ValueError(
                f"no tokenizer.json, and no {' and no '.join(absent)}, in {folder}; give a CLIP's "
                "folder with its tokenizer"
            )
        tokenizer = from_merges(folder / "vocab.json", folder / "merges.txt")
    return ClipTokenizer(tokenizer, context, _pad(folder))


def _pad(folder: pathlib.Path) -> str:
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        token = (hf_config.read(folder, name) or {}).get("pad_token")
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            return token
    return EOS


def from_merges(vocab: pathlib.Path, merges: pathlib.Path) -> Tokenizer:
    """Makes CLIP's byte-level tokenizer of a vocabulary and its merges: letters are lower case.

    Raises:
        ValueError: a file that is damaged or of another kind.
    """
    try:
        model = models.BPE.from_file(
            str(vocab), str(merges), end_of_word_suffix="</w>", unk_token=EOS
        )
    except Exception as error:  # tokenizers raises bare Exceptions
        damaged = f"{vocab} is {file_kind(vocab)}, {merges} {file_kind(merges)}"
        raise ValueError(f"no vocabulary and merges ({error}): {damaged}; fetch both") from None
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    # a mark that the vocabulary lacks would get a new id, of which there is no embedding
    known = tokenizer.get_vocab()
    tokenizer.add_special_tokens([token for token in (BOS, EOS) if token in known])
    return tokenizer
