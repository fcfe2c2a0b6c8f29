import numpy as np
import pytest
from tokenizers import Tokenizer

from assets.make_chameleon_tokenizer import train
from mmcot_jax.example import Example, Picture
from mmcot_jax.models.chameleon.render import ChameleonRenderer

PAD, EOS, EOI, BOI = 1, 2, 16, 17
QUESTION = "# Question:\n", "What colour?\n\n# Options:\n(A) red\n(B) blue\n\n# Pattern:\n"
CHAIN = "The size is small.\n\n# Option A\nReplacing '?' with red: ", "\nReasoning: no.\n\n"
FINAL = "# Final Answer:\nthe answer is: (B)."
IMAGE = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
MULTIMODAL = Example(
    "m", (QUESTION[0], IMAGE, QUESTION[1]), "B", (CHAIN[0], IMAGE, CHAIN[1] + FINAL)
)
TEXTUAL = Example("t", (QUESTION[0], IMAGE, QUESTION[1]), "B", (CHAIN[0] + FINAL,))


@pytest.fixture(scope="module")
def tokenizer():
    return train([*QUESTION, *CHAIN, FINAL], codes=12, vocab=300)


@pytest.fixture(scope="module")
def renderer(tokenizer):
    return ChameleonRenderer(tokenizer, codes=12, image_len=4, resolution=4)


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def test_a_prompt_is_each_text_by_itself_and_pictures_between_marks(renderer, tokenizer):
    row = renderer.prompt(MULTIMODAL)
    head, tail = (ids(tokenizer, text) for text in QUESTION)
    assert row.tokens.tolist() == [*head, BOI, 4, 4, 4, 4, EOI, *tail]
    assert row.starts == (len(head) + 1,)
    np.testing.assert_array_equal(row.images[0], IMAGE)
    np.testing.assert_array_equal(row.positions, [np.arange(len(row.tokens))])
    assert (row.id, row.tokens.dtype, row.positions.dtype) == ("m", np.int32, np.int32)


def test_a_prompt_alone_learns_nothing(renderer):
    assert not renderer.prompt(MULTIMODAL).loss.any()


def test_the_chain_and_the_end_are_learned(renderer):
    prompt, row = renderer.prompt(MULTIMODAL), renderer.supervise(MULTIMODAL)
    given = len(prompt.tokens)
    np.testing.assert_array_equal(row.tokens[:given], prompt.tokens)
    assert row.tokens[-1] == EOS
    np.testing.assert_array_equal(row.loss, np.arange(len(row.tokens)) >= given)
    assert len(row.images) == 2
    assert all(row.tokens[s - 1] == BOI and row.tokens[s + 4] == EOI for s in row.starts)


def test_all_but_the_first_token_can_be_learned_as_the_study_did(tokenizer):
    study = ChameleonRenderer(tokenizer, 12, 4, 4, learn="all", eos=False)
    row = study.supervise(MULTIMODAL)
    assert row.loss.tolist() == [False] + [True] * (len(row.tokens) - 1)
    assert EOS not in row.tokens


def test_a_textual_chain_has_only_the_questions_picture(renderer, tokenizer):
    row = renderer.supervise(TEXTUAL)
    assert len(row.images) == 1
    chain = ids(tokenizer, CHAIN[0] + FINAL)
    assert row.tokens[row.loss].tolist() == [*chain, EOS]


def test_pictures_whose_ids_are_known_need_no_pixels(renderer):
    known = Picture(np.array([5, 6, 7, 8], np.int32))
    row = renderer.prompt(Example("k", ("red", known), "A"))
    assert row.tokens[-6:].tolist() == [BOI, 5, 6, 7, 8, EOI]
    assert (row.images, row.starts) == ((), ())


def test_what_is_supervised_reads_back(renderer):
    known = Picture(np.array([5, 6, 7, 8], np.int32))
    reply = renderer.read(
        renderer.supervise(Example("r", (), "B", (CHAIN[0], known, FINAL))).tokens
    )
    first, picture, last = reply.segments
    assert (first, last) == (CHAIN[0], FINAL)
    assert picture.ids.tolist() == [5, 6, 7, 8]
    assert reply.text == f"{CHAIN[0]}<image>{FINAL}"


def test_any_text_round_trips_byte_by_byte(renderer):
    text = "naïve ☃ <b>\t'?' (A)\n\n\n# Nothing known: ,  , 7"
    row = renderer.supervise(Example("u", (), "", (text,)))
    assert renderer.read(row.tokens).segments == (text,)


def test_marks_in_a_text_are_its_letters(tokenizer):
    text = "what does </s> do, the tag <racm3:break>, <pad> or IMGIMGCZ?"
    declared = Tokenizer.from_str(tokenizer.to_str())
    declared.add_special_tokens(["</s>", "<racm3:break>", "<pad>"])
    assert EOS in ids(declared, text) and BOI in ids(declared, text)
    for given in (tokenizer, declared):
        marked = ChameleonRenderer(given, codes=12, image_len=4, resolution=4)
        row = marked.prompt(Example("u", (text,), "B"))
        assert marked.is_text(given.get_vocab_size())[row.tokens].all()
        assert marked.read(row.tokens).segments == (text,)


def read(renderer, *tokens):
    return renderer.read(np.array(tokens, np.int32)).segments


def test_reading_stops_at_the_end(renderer, tokenizer):
    red = ids(tokenizer, "red")
    assert read(renderer, *red, EOS, *red, PAD) == ("red",)
    assert read(renderer, EOS) == ()
    assert read(renderer) == ()


def test_a_picture_cut_short_keeps_what_it_has(renderer, tokenizer):
    red = ids(tokenizer, "red")
    text, picture = read(renderer, *red, BOI, 5, 6)
    assert (text, picture.ids.tolist(), picture.ids.dtype) == ("red", [5, 6], np.int32)
    (picture,) = read(renderer, BOI)
    assert picture.ids.tolist() == []


def test_an_end_within_a_picture_ends_the_reply(renderer, tokenizer):
    (picture,) = read(renderer, BOI, 5, EOS, *ids(tokenizer, "red"))
    assert picture.ids.tolist() == [5]


def test_foreign_ids_do_not_raise(renderer, tokenizer):
    red = ids(tokenizer, "red")
    assert "red" in "".join(read(renderer, 0, 3, EOI, 7, *red, 10**6, 2**31 - 1))


def test_marks_pictures_ids_and_nobodys_ids_are_no_text(renderer, tokenizer):
    size = tokenizer.get_vocab_size()
    legal = renderer.is_text(size + 5)
    assert not legal[: BOI + 1].any()
    assert not legal[size:].any()
    assert legal[ids(tokenizer, "red (A).\n")].all()
    names = [tokenizer.id_to_token(i) for i in np.flatnonzero(legal)]
    assert "<" in names  # a sign is text, `<mark>` is not


def test_another_loss_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"sft.learn is 'answer'; choose from chain, all"):
        ChameleonRenderer(tokenizer, 12, 4, 4, learn="answer")
