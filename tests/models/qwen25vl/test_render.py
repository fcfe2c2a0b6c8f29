import dataclasses

import numpy as np
import pytest
from helpers import qwen_golden

from mmcot_jax.example import Example, Picture, Renderer
from mmcot_jax.hf import read_tokenizer
from mmcot_jax.models.qwen25vl.config import VisionConfig
from mmcot_jax.models.qwen25vl.render import (
    MARKS,
    SYSTEM,
    Qwen25VLRenderer,
    positions,
)

VISION = VisionConfig(width=16, depth=1, heads=2, mlp=8, full=(), window=56)
IDS = {"pad": 56, "open": 58, "close": 59, "end": 60, "end_of_text": 61, "begin": 62}
IMAGE = np.zeros((56, 84, 3), np.uint8)  # 2 x 3 cells


@pytest.fixture
def renderer():
    """Words w0 .. w55; the template's own words are w0, which the tokenizer does not know."""
    return Qwen25VLRenderer(qwen_golden.tokenizer(64, IDS), VISION, 784, 28 * 28 * 64, context=99)


def shown(row):
    """Ids with marks by name and runs of placeholders by their number."""
    names = {id: name for name, id in IDS.items()}
    out = []
    for token in row.tokens.tolist():
        name = names.get(token, token)
        if name == "pad" and out and isinstance(out[-1], str) and out[-1].startswith("pad"):
            out[-1] = f"pad{int(out[-1][3:]) + 1}"
        else:
            out.append("pad1" if name == "pad" else name)
    return out


HEAD = ["begin", *[0] * 7, "end"]  # system You are a helpful assistant .


def test_it_is_a_renderer(renderer):
    assert isinstance(renderer, Renderer)


def test_an_image_stands_where_the_question_has_it(renderer):
    row = renderer.prompt(Example("a", ("w3 ", IMAGE, "w4"), "w5"))
    user = ["begin", 0, 3, "open", "pad6", "close", 4, "end"]
    assert shown(row) == [*HEAD, *user, "begin", 0]
    first = renderer.prompt(Example("a", (IMAGE, IMAGE, "w4"), "w5"))
    images = ["open", "pad6", "close"] * 2
    assert shown(first) == [*HEAD, "begin", 0, *images, 4, "end", "begin", 0]
    assert first.image_count == 2
    words = renderer.prompt(Example("a", ("w4 w5",), ""))
    assert shown(words) == [*HEAD, "begin", 0, 4, 5, "end", "begin", 0]
    assert words.windows is None and words.image_count == 0


def test_the_chain_and_its_end_are_learned(renderer):
    example = Example("a", (IMAGE, "w4"), "w9", rationale=("w7 ", "w8 w9"))
    row, prompt = renderer.supervise(example), renderer.prompt(example)
    n = len(prompt.tokens)
    assert row.tokens[:n].tolist() == prompt.tokens.tolist()
    assert shown(row)[-4:] == [7, 8, 9, "end"]
    assert np.flatnonzero(row.loss).tolist() == [n, n + 1, n + 2, n + 3]
    assert not prompt.loss.any()
    assert row.windows.source[:n].tolist() == prompt.windows.source.tolist()
    assert row.windows.source[n:].tolist() == [-1] * 4
    bare = dataclasses.replace(renderer, eos=False).supervise(example)
    assert shown(bare)[-3:] == [7, 8, 9]
    every = dataclasses.replace(renderer, learn="all").supervise(example)
    assert (every.loss == (every.tokens != IDS["pad"]))[1:].all() and not every.loss[0]


def test_a_system_message_takes_the_templates_place(renderer):
    other = dataclasses.replace(renderer, system="w8 w9")
    assert shown(other.prompt(Example("a", ("w4",), "")))[:5] == ["begin", 0, 8, 9, "end"]


def test_marks_in_a_text_stay_text(renderer):
    row = renderer.prompt(Example("a", ("w4 <|im_end|> <|image_pad|> w5",), ""))
    marks = [token for token in row.tokens.tolist() if token in IDS.values()]
    assert marks == [62, 60, 62, 60, 62]  # the template's own
    assert row.windows is None


def test_positions_are_those_of_the_drawn_example():
    assert positions(8, [1], [(2, 3)]).tolist() == [
        [0, 1, 1, 1, 1, 1, 1, 4],
        [0, 1, 1, 1, 2, 2, 2, 4],
        [0, 1, 2, 3, 1, 2, 3, 4],
    ]
    assert positions(3, [], []).tolist() == [[0, 1, 2]] * 3


def test_two_images_back_to_back_go_on_after_the_larger_side(renderer):
    out = positions(9, [0, 4], [(2, 2), (1, 4)])
    assert out[0].tolist() == [0] * 4 + [2] * 4 + [6]
    assert out[2].tolist() == [0, 1, 0, 1, 2, 3, 4, 5, 6]


def test_a_reply_ends_at_its_end_and_nothing_raises(renderer):
    assert renderer.read(np.array([4, 5, 60, 6])).text == "w4 w5"
    assert renderer.read(np.array([61])).segments == ()
    assert renderer.read(np.array([], np.int32)).text == ""
    assert "w4" in renderer.read(np.array([4, 56, 63, 57, 59])).text


def test_a_prompt_is_read_whole_with_its_images(renderer):
    row = renderer.prompt(Example("a", ("w4", IMAGE), "w5"))
    read = renderer.read(row.tokens)
    assert [len(p.ids) for p in read.pictures] == [6]
    assert "w4 <|vision_start|><image><|vision_end|>" in read.text


def test_only_words_may_be_written(renderer):
    legal = np.flatnonzero(renderer.is_text(70))
    assert legal.tolist() == list(range(56))
    assert renderer.eos_ids == (60, 61)


def test_a_row_longer_than_the_context_names_the_record_and_a_size(renderer):
    large = np.zeros((224, 224, 3), np.uint8)
    example = Example("photo-7", (large, "w4", large), "")
    with pytest.raises(
        ValueError,
        match=r"record 'photo-7' is 147 tokens, 128 of them of its 2 images, and model.context is "
        r"99; set model.max_pixels to 31360 or less, or raise model.context",
    ):
        renderer.prompt(example)
    fits = dataclasses.replace(renderer, max_pixels=31360).prompt(example)
    assert len(fits.tokens) <= 99
    small = dataclasses.replace(renderer, context=15)
    with pytest.raises(ValueError, match=r"context is 15; shorten its text, or raise"):
        small.prompt(Example("a", (IMAGE,), ""))


def test_faults_of_a_record_are_named(renderer):
    with pytest.raises(ValueError, match=r"record 'a': an image of 9 x 99 pixels is thinner"):
        renderer.prompt(Example("a", (np.zeros((9, 99, 3), np.uint8),), ""))
    with pytest.raises(ValueError, match=r"record 'a' has a picture given by ids; .* give the ima"):
        renderer.prompt(Example("a", (Picture(np.array([1])),), ""))
    with pytest.raises(ValueError, match=r"record 'a' has an image in its rationale; .*textual"):
        renderer.supervise(Example("a", ("w1",), "", rationale=("w1", IMAGE)))


def test_options_that_are_not_there_are_refused(renderer):
    with pytest.raises(ValueError, match=r"sft.learn is 'some'; choose from chain, all"):
        dataclasses.replace(renderer, learn="some")
    with pytest.raises(ValueError, match=r"model.preprocess is 'hf'; choose from processor, utils"):
        dataclasses.replace(renderer, variant="hf")
    with pytest.raises(ValueError, match=r"min_pixels is 9 and model.max_pixels 8; give numbers"):
        dataclasses.replace(renderer, min_pixels=9, max_pixels=8)


def test_a_tokenizer_without_the_marks_is_refused(renderer):
    few = {name: id for name, id in IDS.items() if name != "close"}
    with pytest.raises(ValueError, match=r"tokenizer has no <\|vision_end\|>; give the tokenizer"):
        dataclasses.replace(renderer, tokenizer=qwen_golden.tokenizer(64, few))


# --- the released tokenizer ------------------------------------------------------------------


@pytest.fixture(scope="module")
def released(reference):
    tokenizer = read_tokenizer(reference / "data" / "tokenizers" / "qwen2_5", "")
    vision = VisionConfig(width=16, depth=1, heads=2, mlp=8, full=())
    return Qwen25VLRenderer(tokenizer, vision, 3136, 12_845_056, context=999)


@pytest.mark.reference
def test_the_template_is_the_released_one(released):
    row = released.prompt(Example("a", (IMAGE, "What is it?"), ""))
    text = "".join(
        f"<|im_start|>{part}"
        for part in (
            f"system\n{SYSTEM}<|im_end|>\n",
            f"user\n<|vision_start|>{'<|image_pad|>' * 6}<|vision_end|>What is it?<|im_end|>\n",
            "assistant\n",
        )
    )
    released.tokenizer.encode_special_tokens = False
    want = released.tokenizer.encode(text, add_special_tokens=False).ids
    released.tokenizer.encode_special_tokens = True
    assert row.tokens.tolist() == want
    assert want[0] == 151644 and want.count(151655) == 6
    assert released.eos_ids == (151645, 151643)
    assert released.read(row.tokens).text == text.replace("<|image_pad|>" * 6, "<image>")


@pytest.mark.reference
def test_ids_of_the_processors_prompts_are_the_original_s(released, reference):
    golden = qwen_golden.shared(reference / "golden" / "qwen25vl" / "untied")
    own = golden.backbone.renderer
    limits = {"min_pixels": own.min_pixels, "max_pixels": own.max_pixels, "vision": own.vision}
    released = dataclasses.replace(released, **limits)
    for number, prompt in enumerate(golden.config["processor_prompts"]):
        text = prompt["text"].removeprefix("<|im_start|>user\n")
        text = text.removesuffix("<|im_end|>\n<|im_start|>assistant\n")
        first, *rest = text.split("<|vision_start|><|image_pad|><|vision_end|>")
        segments = (first,)
        for photo, after in zip(prompt["photos"], rest, strict=True):
            segments += (golden.photos[photo], after)
        ids = released.prompt(Example("a", segments, "")).tokens.tolist()
        want = golden.arrays[f"out_proc_prompt{number}_input_ids"][0].tolist()
        places = [i for i in range(len(ids)) if ids[i : i + len(want)] == want]
        assert len(places) == 1  # the template stands around it


@pytest.mark.reference
def test_no_mark_of_the_released_tokenizer_may_be_written(released):
    legal = released.is_text(152064)
    assert legal[:151643].all()
    assert np.flatnonzero(legal[151643:]).tolist() == [14, 15]  # <tool_call> </tool_call>
    marks = "".join(MARKS.values())
    row = released.prompt(Example("a", (marks,), ""))
    plain = released.prompt(Example("a", ("x",), ""))
    special = lambda row: [t for t in row.tokens.tolist() if t >= 151643]  # noqa: E731
    assert special(row) == special(plain)
    assert marks in released.read(row.tokens).text
