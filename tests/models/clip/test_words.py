"""CLIP's tokenizer: both forms of its files, and marks spelled in a text."""

import json

import pytest
from tokenizers import Tokenizer

from mmcot_jax.models.clip.preprocess import BEGIN, END, read_words

SIGNS = [*"?!'7<|>", *"abcdefinorstxy"]
MERGES = ["b o", "bo x</w>", "r e", "re d</w>"]
VOCABULARY = [*SIGNS, *(x + "</w>" for x in SIGNS), *(x.replace(" ", "") for x in MERGES)]
IDS = {x: i for i, x in enumerate([*VOCABULARY, BEGIN, END])}
TEXTS = ["Red  BOX", "a\tbox, isn't it?", "7 boxes!?", "", "caf\u00e9 box", "a" * 50]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps(IDS))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n")
    return tmp_path


@pytest.fixture
def theirs(folder):
    transformers = pytest.importorskip("transformers")
    return transformers.CLIPTokenizer(*(str(folder / x) for x in ("vocab.json", "merges.txt")))


def test_ids_are_transformers_from_either_form(folder, theirs):
    ours = read_words(folder, 9).ids(TEXTS)
    assert ours[0].tolist() == [IDS[BEGIN], IDS["red</w>"], IDS["box</w>"], *[IDS[END]] * 6]
    for text, row in zip(TEXTS, ours, strict=True):
        ids = theirs(text, truncation=True, max_length=9, padding="max_length")["input_ids"]
        assert row.tolist() == ids, text
    theirs.save_pretrained(folder)
    assert (read_words(folder, 9).ids(TEXTS) == ours).all()


def test_a_mark_spelled_in_a_text_does_not_end_it(folder, theirs):
    theirs.save_pretrained(folder)
    text = f"red {END} box"
    found = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
    assert found.index(IDS[END]) < found.index(IDS["box</w>"])  # as transformers reads it
    row = read_words(folder, 30).ids([text])[0].tolist()
    assert row.index(IDS[END]) == row.index(IDS["box</w>"]) + 1
