import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE

from mmcot_jax.example import Example, Picture
from mmcot_jax.models.seed_llama.render import SeedRenderer, with_pictures

UNK, BOS, EOS = 0, 1, 2
CODES, K = 8, 4
IMAGE = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
PIECES = ["▁", "▁a", "▁a▁red", "▁red", "red", "r", "e", "d", "a", "<", ">", "/", "i", "m", "g"]


def llama_like():
    """As Llama's: a space before every stretch of text, single bytes for the rest."""
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    vocab = {t: i for i, t in enumerate(["<unk>", "<s>", "</s>", *bytes_, *PIECES])}
    merges = [("r", "e"), ("re", "d")]
    vocab |= {"re": len(vocab)}
    made = Tokenizer(BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    made.add_special_tokens([AddedToken(t, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    return made


@pytest.fixture(scope="module")
def tokenizer():
    return with_pictures(llama_like(), CODES)


@pytest.fixture(scope="module")
def r(tokenizer):
    return SeedRenderer(tokenizer, CODES, K, resolution=4)


def ids(r, text):
    return r.tokenizer.encode(text, add_special_tokens=False).ids


def picture(r, *codes):
    return Picture(np.array([r.first_image + code for code in codes], np.int32))


def read(r, *tokens):
    return r.read(np.array(tokens, np.int32)).segments


def test_pictures_ids_follow_the_words_and_their_tags_follow_them(r):
    words = llama_like().get_vocab_size()
    assert (r.first_image, r.boi, r.eoi) == (words, words + CODES, words + CODES + 1)
    assert r.eos_ids == (EOS,)
    assert r.tokenizer.id_to_token(words + 5) == "<img_00005>"


def test_a_prompt_begins_with_the_begin_mark_and_each_text_with_a_space(r):
    row = r.prompt(Example("a", ("a red", IMAGE, "red"), "x"))
    space, red = (r.tokenizer.token_to_id(t) for t in ("▁", "red"))
    a = r.tokenizer.token_to_id("a")
    assert row.tokens.tolist() == [
        BOS, space, a, space, red, r.boi, *[r.first_image] * K, r.eoi, space, red,
    ]  # fmt: skip
    assert row.starts == (6,)
    assert row.images[0].shape == (4, 4, 3)
    assert not row.loss.any()
    np.testing.assert_array_equal(row.positions, [np.arange(len(row.tokens))])


def test_a_text_that_spells_the_begin_mark_has_its_letters(r):
    assert ids(r, "<s>red")[0] == BOS
    written = r.prompt(Example("a", ("<s>red",), "x")).tokens
    assert written.tolist().count(BOS) == 1
    assert r.read(written).text == "<s>red"


def test_chain_and_end_are_learned(r):
    row = r.supervise(Example("a", ("a",), "x", ("<think>", picture(r, 3, 1, 4, 1), " red")))
    given = len(r.prompt(Example("a", ("a",), "x")).tokens)
    assert row.tokens[-1] == EOS
    np.testing.assert_array_equal(row.loss, np.arange(len(row.tokens)) >= given)
    assert r.read(row.tokens[given:]).text == "<think><image> red"


def test_images_are_tokenised_where_they_stand_in_a_chain(r):
    row = r.supervise(Example("a", ("a",), "x", ("red", IMAGE)))
    (start,) = row.starts
    assert row.tokens[start - 1] == r.boi
    assert row.tokens[start + K] == r.eoi


def test_tags_and_ids_written_out_in_a_text_are_its_letters(r):
    text = "red<img><img_00003></s></img> red"
    tokens = r.prompt(Example("a", (text,), "x")).tokens
    assert tokens[0] == BOS and not np.isin(tokens[1:], [BOS, EOS]).any()
    assert (tokens < r.first_image).all()
    assert r.read(tokens).text == text


def test_a_reply_is_text_and_pictures_by_their_ids(r):
    first, drawn, last = read(r, *ids(r, "a red"), r.boi, *picture(r, 3, 1, 4, 1).ids, r.eoi,
                              *ids(r, "☃\nred"), EOS, *ids(r, "a"))  # fmt: skip
    assert (first, last) == ("a red", "☃\nred")
    assert (drawn.ids - r.first_image).tolist() == [3, 1, 4, 1]
    assert drawn.ids.dtype == np.int32


@pytest.mark.parametrize("tail", [(), (7,)])
def test_a_reply_that_ends_inside_an_image_keeps_what_there_is(r, tail):
    one = r.first_image
    *_, drawn = read(r, *ids(r, "red"), r.boi, *tail)
    assert drawn.ids.tolist() == list(tail)
    (drawn,) = read(r, r.boi, one, EOS, one)
    assert drawn.ids.tolist() == [one]


def test_empty_images_nested_tags_and_wrong_ids_are_read(r):
    one = r.first_image
    assert [len(p.ids) for p in read(r, r.boi, r.eoi, r.boi, r.eoi)] == [0, 0]
    (nested, after) = read(r, r.boi, one, r.boi, one, r.eoi, r.eoi)
    assert (nested.ids.tolist(), after) == ([one, r.boi, one], "</img>")
    (wrong,) = read(r, r.boi, one, UNK, 2**31 - 1, r.eoi)
    assert wrong.ids.tolist() == [one, UNK, 2**31 - 1]
    assert read(r, one, *ids(r, "red"), 10**6, r.eoi)[0].startswith("<img_00000>")
    assert read(r) == ()


def test_only_what_words_are_made_of_is_text(r):
    legal = r.is_text(r.eoi + 5)
    assert not legal[[UNK, BOS, EOS]].any()
    assert not legal[r.first_image :].any()
    assert legal[ids(r, "a red\n☃")].all()  # single bytes are text


def test_without_pictures_it_has_the_words_of_any_llama():
    plain = SeedRenderer(llama_like())
    assert (plain.first_image, plain.boi, plain.eoi) == (-1, -1, -1)
    assert plain.read(plain.prompt(Example("a", ("a red",), "x")).tokens).text == "a red"
    with pytest.raises(ValueError, match=r"example a has an image, but this model has none"):
        plain.prompt(Example("a", (IMAGE,), "x"))


def test_pictures_in_another_order_are_refused():
    odd = llama_like()
    odd.add_tokens([AddedToken("</img>"), AddedToken("<img_00007>")])
    with pytest.raises(ValueError, match=r"<img_00000>, <img_00007>, <img>, </img> have the ids"):
        with_pictures(odd, CODES)


def test_a_tokenizer_that_has_its_pictures_gets_no_second_ones(tokenizer):
    size = tokenizer.get_vocab_size()
    assert with_pictures(tokenizer, CODES).get_vocab_size() == size
