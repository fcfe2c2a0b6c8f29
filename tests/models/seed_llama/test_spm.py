"""tokenizer.model, written by hand and by the library."""

import struct

import pytest
from helpers import tiny

from mmcot_jax.models import seed_llama as module
from mmcot_jax.models.seed_llama import spm


def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(value)


def model(pieces, kind=2, dummy_prefix=1, extra_spaces=0, table=b""):
    """A SentencePiece model; kind 2 is BPE."""
    body = b"".join(
        field(1, field(1, text.encode()) + field(2, score) + field(3, type))
        for text, score, type in pieces
    )
    spec = field(1, b"identity") + field(2, table) + field(3, dummy_prefix) + field(4, extra_spaces)
    return body + field(2, field(3, kind) + field(35, 1)) + field(3, spec)


MARKS = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
BYTES = [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
PIECES = [
    *MARKS,
    *BYTES,
    *((text, -float(i), 1) for i, text in enumerate(("ab", "▁ab", "abc", "▁", "a", "b", "c"))),
]


def test_pieces_are_merged_by_their_score_and_other_characters_are_bytes(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(model(PIECES))
    made = spm.read(tmp_path / "tokenizer.model")
    assert made.encode("abc", add_special_tokens=False).tokens == ["▁ab", "c"]
    assert made.encode("cab ab", add_special_tokens=False).tokens == ["▁", "c", "ab", "▁ab"]
    assert made.encode("é", add_special_tokens=False).tokens == ["▁", "<0xC3>", "<0xA9>"]
    assert made.decode(made.encode("ab cé  b").ids) == "ab cé  b"
    assert [made.token_to_id(mark) for mark in ("<unk>", "<s>", "</s>")] == [0, 1, 2]
    assert made.get_added_tokens_decoder().keys() == {0, 1, 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file, no SentencePiece model; fetch it again"),
        (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
        (model(PIECES)[:700], "no SentencePiece model"),
        (model(PIECES, kind=1), "is no BPE that keeps all characters, as Llama's is; give"),
        (model(PIECES, extra_spaces=1), "is no BPE that keeps all characters"),
        (model(PIECES, table=b"\1"), "is no BPE that keeps all characters"),
    ],
)
def test_another_file_is_refused(tmp_path, content, message):
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(ValueError, match=rf"model.tokenizer: .*tokenizer\.model.*{message}"):
        spm.read(tmp_path / "tokenizer.model")


def test_a_model_of_the_library_has_the_librarys_ids(tmp_path):
    library = pytest.importorskip("sentencepiece")
    text = "the cat is left of the mat, and the dog is above both of them\n" * 20
    (tmp_path / "text.txt").write_text(text + "what is far from the box? 12 of 345!\n" * 20)
    library.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(tmp_path / "tokenizer"),
        model_type="bpe", vocab_size=330, byte_fallback=True, character_coverage=0.99,
        normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
    )  # fmt: skip
    theirs = library.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    ours = spm.read(tmp_path / "tokenizer.model")
    for line in ("the cat", "  two  spaces ", "naïve ☃ of 2345", "the box?\nabove", "mat mats"):
        ids = ours.encode(line, add_special_tokens=False).ids
        assert ids == theirs.encode(line), line
        assert ours.decode(ids) == theirs.decode(ids)


def test_it_is_found_with_the_weights_or_with_the_image_tokenizer_as_released(seed_llama, tmp_path):
    llama, seed = tmp_path / "llama", tmp_path / "seed"
    for folder in (llama, seed):
        folder.mkdir()
    c = tiny.config("seed_llama", seed_llama.backbone, tmp_path)
    c |= {"weights": str(llama), "tokenizer": "", "seed_weights": str(seed)}
    c["decoder"] = c["decoder"] | {"vocab": 300}
    with pytest.raises(ValueError, match=r"no tokenizer.json at .*llama; give Llama 2's tokenizer"):
        module.build(c)
    (seed / "tokenizer.model").write_bytes(model(PIECES))
    renderer = module.build(c).renderer
    assert renderer.begin_ids == (1,) and renderer.eos_ids == (2,)
    assert renderer.first_image == len(PIECES)
