"""Reads Llama's tokenizer.model, a SentencePiece BPE, as a tokenizer of `tokenizers`. No jax.

Source of the format: github.com/google/sentencepiece, src/sentencepiece_model.proto.
"""

import pathlib
import struct
from collections.abc import Iterator

from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE

from mmcot_jax.file_kind import file_kind

SPACE = "▁"
BPE_MODEL = 2
"""`TrainerSpec.model_type` of a BPE."""
MARK_TYPES = (2, 3)
"""Types of pieces that are marks: unknown, control."""


def read(path: pathlib.Path) -> Tokenizer:
    """Returns the tokenizer, as transformers converts it (legacy: a space before each text).

    Raises:
        ValueError: no such model, or one that splits or normalises text in another way.
    """
    try:
        model = _fields(path.read_bytes())
        pieces = [_piece(value) for value in model.get(1, ())]
        trainer, normalizer = (_fields((model.get(n) or [b""])[0]) for n in (2, 3))
    except (IndexError, struct.error, TypeError, UnicodeDecodeError, AttributeError):
        pieces = []
    if not pieces:
        raise ValueError(
            f"model.tokenizer: {path} is {file_kind(path)}, no SentencePiece model; fetch it again"
        )
    kept = (
        trainer.get(3) == [BPE_MODEL]
        and normalizer.get(3, [1]) == [1]  # a space before each text
        and normalizer.get(4, [1]) == [0]  # spaces are kept
        and not any(normalizer.get(2, ()))  # no table of characters
    )
    if not kept:
        raise ValueError(
            f"model.tokenizer: {path} is no BPE that keeps all characters, as Llama's is; give a "
            "tokenizer.json"
        )
    return _convert(pieces, byte_fallback=trainer.get(35) == [1])


def _convert(pieces: list[tuple[str, float, int]], byte_fallback: bool) -> Tokenizer:
    vocab = {piece: id for id, (piece, _, _) in enumerate(pieces)}
    marks = [piece for piece, _, kind in pieces if kind in MARK_TYPES]
    made = Tokenizer(
        BPE(
            vocab,
            _merges({piece: score for piece, score, _ in pieces}, vocab),
            unk_token=pieces[0][0],
            fuse_unk=True,
            byte_fallback=byte_fallback,
        )
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", left=1),
        ]
    )
    made.add_special_tokens([AddedToken(mark, normalized=False) for mark in marks])
    return made


def _merges(scores: dict[str, float], vocab: dict[str, int]) -> list[tuple[str, str]]:
    """Returns all pairs of pieces that make a piece, those of the highest score first."""
    found = []
    for piece, score in scores.items():
        pairs = ((piece[:i], piece[i:]) for i in range(1, len(piece)))
        own = [(left, right) for left, right in pairs if left in vocab and right in vocab]
        found += [(score, *pair) for pair in sorted(own, key=lambda p: (vocab[p[0]], vocab[p[1]]))]
    found.sort(key=lambda x: (x[0], len(x[1]), len(x[2])), reverse=True)
    return [(left, right) for _, left, right in found]


# --- protocol buffers --------------------------------------------------------------------------


def _piece(data: bytes) -> tuple[str, float, int]:
    fields = _fields(data)
    (text,), (score,) = fields[1], fields.get(2, [b"\0\0\0\0"])
    return text.decode(), struct.unpack("<f", score)[0], fields.get(3, [1])[0]


def _fields(data: bytes) -> dict[int, list]:
    """Returns the values of a message by number of their field: integers, or bytes."""
    found: dict[int, list] = {}
    for number, value in _values(data):
        found.setdefault(number, []).append(value)
    return found


def _values(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (1, 2, 5):
            length, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = data[at : at + length], at + length
            if at > len(data):
                raise IndexError("cut short")
        else:
            raise IndexError(f"wire type {kind}")
        yield key >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
