"""Chains that continue from their pictures, with tiny backbones."""

import json
from types import ModuleType

import jax
import numpy as np
import pytest
from PIL import Image

from mmcot_jax import mesh as meshes
from mmcot_jax.evals import picture_ablation
from mmcot_jax.evals.answer import Beginnings, answer
from mmcot_jax.evals.continuation import ablate
from mmcot_jax.example import Example
from mmcot_jax.hosts import Preempted

C = {
    "batch_size": 8,
    "max_completion_length": 24,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "repetition_penalty": 1.0,
    "greedy": True,
    "length_multiple": 4,
}
SAMPLED = {"greedy": False, "num_generations": 2, "top_p": 0.9, "repetition_penalty": 1.2}
IMAGE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
EXAMPLES = [
    Example(
        f"q/{n}", (*(IMAGE,) * (n % 5 == 4), "abcdefghijabcdefghij"[n % 10 :][: 3 + n // 10]), "a"
    )
    for n in range(24)
]
KEY = jax.random.key(0)
MESH = meshes.make(data=1, fsdp=-1, tensor=1, devices=jax.devices()[:1])
NONE = ModuleType("none")
NONE.answers = lambda rows: (None,) * len(rows)
STATED = ModuleType("stated")
STATED.answers = lambda rows: ("a",) * len(rows)
FIRST = ModuleType("first")  # the answer is the first c, d or e
FIRST.answers = lambda rows: tuple(
    next((letter for letter in a.reply.text if letter in "cde"), None) for a in rows
)
FIRST.correct = lambda rows: tuple(letter == "c" for letter in FIRST.answers(rows))


@pytest.fixture(params=["chameleon", "seed_llama"])
def tiny(request):
    return request.getfixturevalue(request.param)


def ask(tiny, c, examples=EXAMPLES, **more):
    given = tiny.backbone, tiny.variables, examples, C | c
    return answer(*given, mesh=MESH, key=KEY, decode_images=False, **more)


def begun(tiny, answered):
    g = tiny.backbone.grammar
    marks = int(g.boi), int(g.eoi), int(g.image_len)
    return picture_ablation.chains(answered, NONE, tiny.backbone.renderer.read, marks)


def continued(tiny, chains, ids, draws=True):
    numbers = np.array([chain.number for chain in chains], np.int32)
    written = np.array([len(chain.ids) for chain in chains], np.int32)
    examples = [EXAMPLES[number] for number in numbers]
    return ask(tiny, {}, examples, beginnings=Beginnings(ids, numbers, written, draws))


def test_a_chain_that_continues_from_its_own_pictures_is_the_answer(tiny):
    answered = ask(tiny, {})
    chains = begun(tiny, answered)
    assert len(chains) > 1 and len({len(chain.ids) for chain in chains}) > 1
    own = continued(tiny, chains, [chain.ids for chain in chains])
    for chain, found in zip(chains, own, strict=True):
        original = answered[chain.number]
        assert found.ids.tolist() == original.ids.tolist()
        assert found.reply.text == original.reply.text
        assert found[2:5] == original[2:5]  # prompt, tokens, ended


def test_a_chain_whose_pictures_are_cut_out_has_no_image_ids(tiny):
    chains = begun(tiny, ask(tiny, {}))
    g = tiny.backbone.grammar
    image = {*np.flatnonzero(g.is_image).tolist(), int(g.boi), int(g.eoi)}
    ids = [chain.without_pictures() for chain in chains]
    cut = continued(tiny, chains, ids, draws=False)
    assert not any(image & set(row.tolist()) for row in (*ids, *(a.ids for a in cut)))
    for chain, row, found in zip(chains, ids, cut, strict=True):
        assert found.ids[: len(row)].tolist() == row.tolist()
        assert len(found.ids) - len(row) <= C["max_completion_length"] - len(chain.ids)


def run(tiny, c, folder, judge=FIRST, **more):
    answered = ask(tiny, c)
    given = tiny.backbone, tiny.variables, EXAMPLES, answered, judge, C | c
    return answered, ablate(*given, mesh=MESH, key=KEY, workdir=folder, stage="eval", **more)


def test_three_forms_of_each_chain_are_judged_and_kept(tiny, tmp_path):
    answered, results = run(tiny, SAMPLED, tmp_path)
    path = tmp_path / "completions/eval_pictures.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    n = results["n"]
    assert n > 3 and n + sum(results["left_out"].values()) == len(answered) == 48
    assert [row["form"] for row in rows] == ["own", "other", "cut"] * n
    assert results["reproduced"] == 1.0
    texts = {a.reply.text for a in answered}
    for own, other, cut in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        assert own["id"] == other["id"] == cut["id"] != other["pictures_of"]
        assert own["reply"] in texts and "<image>" not in cut["reply"]
        first = own["reply"].partition("<image>")[0]
        assert other["reply"].startswith(f"{first}<image>") and cut["reply"].startswith(first)
    for form, those in (("own", rows[::3]), ("other", rows[1::3]), ("cut", rows[2::3])):
        right = sum(row["correct"] for row in those) / n
        assert results["accuracy"][form]["mean"] == pytest.approx(right)
    changed = sum(a["read"] != b["read"] for a, b in zip(rows[::3], rows[1::3], strict=True)) / n
    assert results["changed"]["other"]["mean"] == pytest.approx(changed)
    drawn = sum(len(row["pictures"]) for row in rows)
    assert (drawn > 0) == ("pixels" in tiny.backbone.image_outputs)
    for row in rows:
        for name in row["pictures"]:
            assert Image.open(path.parent / name).size == (4, 4)


def test_chains_that_draw_after_their_answer_have_nothing_to_continue(seed_llama, tmp_path):
    _, results = run(seed_llama, SAMPLED, tmp_path, judge=STATED)
    assert results == {
        "n": 0,
        "questions": 0,
        "left_out": {"no_picture": 48, "no_partner": 0},
    }
    assert (tmp_path / "completions/eval_pictures.jsonl").read_text() == ""


def test_a_preempted_ablation_stops(seed_llama, tmp_path):
    with pytest.raises(Preempted):
        run(seed_llama, SAMPLED, tmp_path, preempted=lambda: True)
