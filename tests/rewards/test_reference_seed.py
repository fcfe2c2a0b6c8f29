"""The study's rewards for drawing chains: its cases, ours, and no reply raises."""

import json
import math
import random
import re

import numpy as np
import pytest

from mmcot_jax.example import Example, Picture, Reply
from mmcot_jax.rewards import REWARDS
from mmcot_jax.rewards import reference_seed as seed

IMAGE = " ".join(("<img>", *(f"<img_{37 * i:05}>" for i in range(32)), "</img>"))
CHAIN = f"<think> {IMAGE} a </think> <answer> Yes </answer>"


def drawn(*ids, start=32000):
    return Picture(np.array(ids or [start + 37 * i for i in range(32)], np.int32))


# ---- the text ----------------------------------------------------------------------------------


def test_a_reply_becomes_the_text_of_the_studys_tokenizer():
    reply = Reply(("<think>", drawn(), " a </think> <answer> Yes </answer>"))
    assert seed.to_study_text(reply) == CHAIN
    assert seed.to_study_text(Reply((drawn(), drawn()))) == f"{IMAGE} {IMAGE}"
    assert seed.to_study_text(Reply(())) == ""


def test_a_truncated_image_has_no_end_tag():
    assert (
        seed.to_study_text(Reply(("a", drawn(32001, 32002)))) == "a <img> <img_00001> <img_00002>"
    )
    cut_and_on = Reply((drawn(32001), "a"))
    assert seed.to_study_text(cut_and_on) == "<img> <img_00001> </img> a"


def test_ids_that_are_no_codes_are_tags_or_unknown():
    reply = Reply((drawn(40191, 40192, 40193, 5, 40194), "a"))
    text = "<img> <img_08191> <img> </img> <unk> <unk> </img> a"
    assert seed.to_study_text(reply) == text
    small = Reply((drawn(10, 12, 9), "a"))
    text = "<img> <img_00000> <img> <unk> </img> a"
    assert seed.to_study_text(small, first_image=10, codes=2, image_len=3) == text


# ---- the functions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "text", "reward"),
    [
        (seed.format, "<think>a</think>\n<answer>Yes</answer>", 1.0),
        (seed.format, "<think>a\nb</think><answer>Yes</answer>", 0.0),
        (seed.format, "<think>a</think><think>b</think><answer>Yes</answer>", 1.0),
        (seed.format, "<think></think><answer></answer>", 1.0),
        (seed.format, "- <think>a</think><answer>Yes</answer>.", 0.5),
        (seed.format, CHAIN, 1.0),
        (seed.format_single_think, "<think>a\nb</think><answer>Yes</answer>", 1.0),
        (seed.format_single_think, "<think>a</think><think>b</think><answer>Yes</answer>", 0.0),
        (seed.format_first, "so <think>a</think><answer>Yes</answer> bye", 1.0),
        (seed.format_first, "so\n<think>a</think><answer>Yes</answer>", 0.0),
        (seed.image_count, CHAIN, 1.0),
        (seed.image_count, "<img></img>", 1.0),
        (seed.image_count, "<img>\n</img>", 0.0),
        (seed.image_count, f"{IMAGE} {IMAGE} {IMAGE}", math.exp(-2)),
        (seed.image_count, f"{IMAGE} </img>", 0.0),
        (seed.image_naive, "<img> a </img>", 1.0),
        (seed.image_naive, "<img> a", 0.0),
        (seed.image_strict, CHAIN, 1.0),
        (seed.image_strict, f"{IMAGE} <img> a </img>", 0.5),
        (seed.image_strict, f"{IMAGE} <img>", 0.5),
        (seed.image_strict, "<img> a </img>", 0.0),
        (seed.normalize, " Don't know! ", "dontknow"),
        (seed.read_answer, "<answer> Yes </answer><answer>No</answer>", " Yes "),
    ],
)
def test_cases_of_ours(function, text, reward):
    assert function(text) == pytest.approx(reward)


def test_the_clip_score_needs_32_codes_and_is_rescaled():
    target = []

    def scorer(codes, scene):
        target.append((codes.tolist(), scene))
        return 0.25

    assert seed.image_clip(CHAIN, "a cat", scorer) == pytest.approx(0.25)
    assert target == [([37 * i for i in range(32)], "a cat")]
    for text in ("", "<img></img>", CHAIN.replace(" <img_00037>", ""), CHAIN.replace("_00", "_")):
        assert seed.image_clip(text, "a cat", scorer) == 0.0
    assert [seed.rescale(c) for c in (-1.0, 0.2, 0.3, 0.4, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    reward = seed.reference_image_clip(scorer)
    example = Example("q", ("",), "Yes", extra={"scene": "a dog"})
    assert reward(example, Reply((drawn(),))) == pytest.approx(0.25) and target[-1][1] == "a dog"


def test_input_embeddings_align_by_their_means():
    table = np.zeros((40194, 2), np.float32)
    table[32001], table[32002], table[7] = (1, 0), (0, 1), (1, 1)
    text = "<img> <img_00001> <img_00002> </img>"
    assert seed.image_text_alignment(text, [7], table) == pytest.approx(1.0)
    half = seed.image_text_alignment("<img> <img_00001> </img>", [7], table)
    assert half == pytest.approx((math.sqrt(0.5) + 1) / 2)
    for text in ("", "<img></img>", "<img> x </img>", "<img> <img_09999> </img>"):
        assert seed.image_text_alignment(text, [7], table) == 0.0
    reward = seed.reference_alignment(table, lambda scene: [len(scene)])
    example = Example("q", ("",), "Yes", extra={"scene": "a mouse"})
    assert reward(example, Reply((drawn(32001, 32002), "a"))) == pytest.approx(1.0)


_TAGS = r"<think>.*?</think>\s*<answer>.*?</answer>"
_MARKS = r"[\s.,;:!?\"'()\-]*"


def by_patterns(text: str) -> tuple:
    """The study's functions, by its patterns: they take quadratic time."""
    whole, images = text.strip(), re.findall(r"<img>(.*?)</img>", text, re.IGNORECASE)
    exact, around = (re.match(rf"^{x}{_TAGS}{x}$", whole) for x in (r"\s*", _MARKS))
    single = rf"\s*<think>(?!.*<think>){_TAGS.removeprefix('<think>')}\s*"
    return (
        1.0 if exact else 0.5 if around else 0.0,
        float(bool(re.fullmatch(single, text, re.DOTALL))),
        float(bool(re.match(rf".*?{_TAGS}", text))),
        images,
    )


def test_one_pass_finds_what_the_studys_patterns_find():
    rng = random.Random(0)
    pieces = [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<img>",
        "</Img>",
        "\n",
        " ",
        ".",
        "a",
    ]
    chain = ["<think>", "a", "</think>", " ", "<answer>", "a", "</answer>"]
    found = set()
    for _ in range(4000):
        text = list(chain)
        for _ in range(rng.choice([0, 2, 5])):
            text.insert(rng.randrange(len(text) + 1), rng.choice(pieces))
        text = "".join(rng.sample(text, len(text)) if rng.random() < 0.1 else text)
        functions = (seed.format, seed.format_single_think, seed.format_first)
        value = (*(function(text) for function in functions), list(seed._images(text)))
        assert value == by_patterns(text), text
        found.add(value[:3])
    assert len(found) == 10


@pytest.mark.reference
def test_every_case_of_the_study_is_reproduced(reference):
    table = np.random.RandomState(0).standard_normal((40194, 8)).astype(np.float32)
    functions = {
        "seed.accuracy": seed.accuracy,
        "seed.format": seed.format,
        "seed.image_count": seed.image_count,
        "seed.image_clip": lambda text, scene, _stub_clip_cosine: seed.image_clip(
            text, scene, lambda *_: np.float32(_stub_clip_cosine)
        ),
        "seed._rescale": lambda _, num: seed.rescale(float(num)),
        "seed._normalize_answer": seed.normalize,
        "seed_nb.format_single_think": seed.format_single_think,
        "seed_nb.image_text_alignment": lambda text, scene_ids: seed.image_text_alignment(
            text, scene_ids, table
        ),
        "seed_v0.format": seed.format_first,
        "seed_v0.image_naive": seed.image_naive,
        "seed_v0.image_strict": seed.image_strict,
        "eval.seed_extract_answer": seed.read_answer,
    }
    lines = (reference / "data" / "reward_cases.jsonl").read_text().splitlines()
    cases = [case for case in map(json.loads, lines) if case["fn"] in functions]
    assert len(cases) == 386
    for case in cases:
        found = functions[case["fn"]](case["completion"], **case["kwargs"])
        expected = 0.0 if "raises" in case else case["reward"]
        near = pytest.approx(expected, abs=1e-6) if isinstance(expected, float) else expected
        assert found == near, case


# ---- as rewards --------------------------------------------------------------------------------

YES = Example(
    "q", ("",), "Yes", extra={"candidate_answers": ("Yes", "No"), "scene": "a", "prefill": ""}
)
FAULTY = {
    "ends inside an image": Reply(("<think>", drawn(32001, 32002))),
    "ends with a whole image": Reply(("<think>", drawn())),
    "an image with a wrong id": Reply(("<think>", drawn(*[32000] * 31, 7), "</think>")),
    "a negative id": Reply((drawn(-5, 2**31 - 1), "a")),
    "nested tags": Reply(("<think><think>", drawn(40192, *[32000] * 30, 40193), "</think>")),
    "tags in words": Reply(("<img><img> <img_00001> </img></img><answer><answer>No</answer>",)),
    "an empty image": Reply(("<think>", drawn()._replace(ids=np.zeros(0, np.int32)), "a")),
    "nothing": Reply(()),
    "only a newline": Reply(("\n",)),
    "a surrogate": Reply(("<think>\ud800\x00</think><answer>\udfffYes</answer>",)),
    "many tags": Reply(("<think>" * 500 + "<img>" * 500 + "<answer>" * 500,)),
}
OURS = ("accuracy_normalized", "format_tiered", "image_count")


@pytest.mark.parametrize("fault", FAULTY)
def test_no_reply_raises(fault):
    for name in [*(n for n in REWARDS if n.startswith("reference_seed")), *OURS]:
        assert 0.0 <= REWARDS[name](YES, FAULTY[fault]) <= 1.0


def test_a_cut_image_costs_the_count_in_both_versions():
    for name in ("image_count", "reference_seed_image_count"):
        assert REWARDS[name](YES, FAULTY["ends inside an image"]) == 0.0
    assert REWARDS["image_count"](YES, FAULTY["an empty image"]) == 0.0
    assert REWARDS["reference_seed_image_count"](YES, FAULTY["an empty image"]) == 1.0


def test_a_good_chain_has_the_full_reward_of_every_version():
    picture = drawn()._replace(clip=np.array([0.6, 0.8]))
    reply = Reply(("<think>", picture, "a</think> <answer>Yes</answer>"))
    yes = YES._replace(extra={"scene": "a cat", "scene_clip": np.array([0.3, 0.4])})
    assert {n: REWARDS[n](yes, reply) for n in REWARDS if n.startswith("reference_seed")} == {
        "reference_seed_accuracy": 1.0,
        "reference_seed_format": 1.0,
        "reference_seed_format_single_think": 1.0,
        "reference_seed_format_first": 1.0,
        "reference_seed_image_count": 1.0,
        "reference_seed_image_clip": 1.0,
        "reference_seed_image_naive": 1.0,
        "reference_seed_image_strict": 1.0,
    }
