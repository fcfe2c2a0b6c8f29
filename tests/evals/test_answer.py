"""Questions are asked in order, in whole batches, each rendered when it is asked."""

import json

import jax
import numpy as np
import pytest

from mmcot_jax import data
from mmcot_jax import mesh as meshes
from mmcot_jax.evals import answer as answering
from mmcot_jax.example import Answered, Example, Picture, Reply
from mmcot_jax.rollout.generate import Generations, PromptShapes

C = {
    "batch_size": 8,
    "max_completion_length": 4,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "greedy": True,
    "length_multiple": 4,
}
EXAMPLES = [Example(f"q/{n}", ("abcdef"[: 1 + n % 6],), "A") for n in range(11)]


class Generator:
    """Answers a row by its id and the number it draws by; notes what it was asked."""

    target: list

    def __init__(self, backbone, mesh, shapes, static, *, draws):
        self.g, self.shapes = static.num_generations, shapes

    def __call__(self, variables, rows, numbers, key, continued):
        self.target.append((len(rows), self.shapes))
        replies = [
            Reply((f"{row.id} {number} {g}",))
            for row, number in zip(rows, numbers, strict=True)
            for g in range(self.g)
        ]
        tokens = np.full(len(replies), 2)
        ended = np.ones(len(replies), bool)
        ids = [np.zeros(2, np.int32)] * len(replies)
        return Generations(None, replies, ids, tokens, ended, tokens)


@pytest.fixture
def answer(monkeypatch, chameleon):
    Generator.target = []
    monkeypatch.setattr(answering, "Generator", Generator)
    backbone = chameleon.backbone
    mesh = meshes.make(data=1, fsdp=-1, tensor=1)
    key = jax.random.key(0)

    def call(examples=EXAMPLES, **changes):
        given = dict(mesh=mesh, key=key, decode_images=False)
        return answering.answer(backbone, {}, examples, C | changes, **given)

    return call


def test_every_question_is_answered_once_in_order_and_the_last_batch_is_filled(answer):
    found = answer()
    assert [a.example for a in found] == EXAMPLES
    assert [a.reply.text for a in found] == [f"q/{n} {n} 0" for n in range(11)]
    assert [a.prompt for a in found[4:8]] == ["abcde", "abcdef", "a", "ab"]
    assert Generator.target == [(8, PromptShapes((8,), (0,), ()))] * 2
    assert answering.lengths(found) == {
        "n": 11,
        "completions/mean_length": 2.0,
        "completions/clipped_ratio": 0.0,
        "image/count": 0.0,
    }


def test_rows_that_fill_a_batch_are_rendered_once(answer, monkeypatch):
    read, question = [], data.Rendered.question
    monkeypatch.setattr(
        data.Rendered, "question", lambda rows, i: read.append(i) or question(rows, i)
    )
    answer()
    assert read == [*range(11), 0]


def test_several_answers_of_a_question_are_next_to_each_other(answer):
    found = answer(num_generations=2)
    assert [a.reply.text for a in found[:4]] == ["q/0 0 0", "q/0 0 1", "q/1 1 0", "q/1 1 1"]
    assert len(found) == 22 and found[-1].example.id == "q/10"


@pytest.mark.parametrize("images", [True, False])
def test_every_process_has_the_pixels_of_all_if_they_are_needed(monkeypatch, images):
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (2 * n, 3, 3), dtype=np.uint8) for n in (1, 2, 3)]
    shown = [[pictures[0], pictures[1]], [None, pictures[2]], []]

    def read(ids: np.ndarray) -> Reply:
        return Reply(tuple(Picture(np.zeros(4, np.int32)) for _ in range(len(shown[ids[0]]))))

    def answered(n: int) -> Answered:
        reply = answering.with_pixels(read(np.array([n])), iter(shown[n]))
        return Answered(EXAMPLES[n], reply, "?", 4, True, np.array([n], np.int32), ("a.png",))

    sent = {}
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for process, ours in enumerate(([0, 2], [1])):  # what each sends, before any answers

        def gather(value, process=process):
            sent[process] = json.loads(json.dumps(value))
            return []

        monkeypatch.setattr(meshes, "all_gather_objects", gather)
        answering._gather({n: answered(n) for n in ours}, EXAMPLES.__getitem__, read, images)
    monkeypatch.setattr(meshes, "all_gather_objects", lambda _: [sent[0], sent[1]])
    for ours in ([0, 2], [1]):
        found = answering._gather(
            {n: answered(n) for n in ours}, EXAMPLES.__getitem__, read, images
        )
        assert [a.example for a in found] == EXAMPLES[:3]
        for n, a in enumerate(found):
            kept = shown[n] if images or n in ours else [None] * len(shown[n])
            for picture, pixels in zip(a.reply.pictures, kept, strict=True):
                np.testing.assert_equal(picture.pixels, pixels)
            assert (a.tokens, a.ended, a.prompt_pictures) == (4, True, ("a.png",))


def test_what_was_answered_holds_no_photograph(answer):
    photograph = np.ones((4, 4, 3), np.uint8)
    target = [Example("q", (photograph, "a"), "A", ("b", photograph), {"kind": "venn"})]
    (found,) = answer(target)
    assert found.prompt == "<image>a"
    assert [s if isinstance(s, str) else s.shape for s in found.example.prompt] == [(0, 0, 3), "a"]
    assert found.example.rationale[1].size == 0
    assert (found.example.id, found.example.extra) == ("q", {"kind": "venn"})
    assert target[0].prompt[0] is photograph
