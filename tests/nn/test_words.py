"""Text as ids: marks spelled in it are letters, with every model of a tokenizer."""

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models

from mmcot_jax.nn.words import TextEncoder

VOCAB = {x: n for n, x in enumerate(["<unk>", "</s>", "<t>", *"</s>tab"])}
MARKS = ("<unk>", "</s>", "<t>")


def encoder(model, added=()):
    tokenizer = Tokenizer(model)
    tokenizer.add_tokens([AddedToken(x, special=x == "</s>") for x in added])
    legal = np.array([x not in MARKS for x in VOCAB])
    return TextEncoder(tokenizer, legal)


def unigram():
    return models.Unigram([(x, 0.0 if x in MARKS else -10.0) for x in VOCAB], unk_id=0)


def letters(text):
    return [VOCAB[x] for x in text]


@pytest.mark.parametrize(
    ("model", "added"),
    [
        (models.BPE(VOCAB, []), ("</s>", "<t>")),
        (models.BPE(VOCAB, [], ignore_merges=True), ()),
        (models.BPE(VOCAB, [], ignore_merges=True, unk_token="<unk>"), ("</s>",)),
        (unigram(), ()),
        (unigram(), ("</s>",)),
    ],
)
def test_a_mark_in_a_text_is_its_letters(model, added):
    encode = encoder(model, added)
    assert encode("ab") == letters("ab")
    for text in ("</s>", "a</s>b", "<t></s>"):
        assert encode(text) == letters(text)


def test_an_unknown_letter_stays_unknown():
    encode = encoder(models.BPE(VOCAB, [], unk_token="<unk>"), ("</s>",))
    assert encode("a?") == [*letters("a"), 0]
    assert encode("?</s>") == [0, *letters("</s>")]


def test_half_a_character_is_refused_with_the_text_around_it():
    with pytest.raises(ValueError, match=r"a text has half a character in 'ab\\ud800ba'; write it"):
        encoder(models.BPE(VOCAB, []))("ab\ud800ba")


def test_a_mark_that_has_no_letters_is_refused():
    vocab = {"<unk>": 0, "<t>": 1}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<t>"))
    with pytest.raises(ValueError, match="a text has '<t>', which the tokenizer knows as a mark"):
        TextEncoder(tokenizer, np.zeros(2, bool))("<t>")
