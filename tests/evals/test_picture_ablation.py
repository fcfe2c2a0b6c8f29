"""The cut, the partners and the numbers of the picture ablation, on the host."""

import io
from types import ModuleType

import numpy as np
import pytest
import rich.console

from mmcot_jax.evals import grounded, picture_ablation, puzzlevqa, resq
from mmcot_jax.evals.picture_ablation import Chain, Outcome
from mmcot_jax.example import Answered, Example, Picture, Reply

BOI, EOI, LEN = 8, 9, 2
WORDS = {1: "a", 2: "b", 3: "!"}


def read(ids):
    """1 and 2 are words, 3 is `!`, an answer; every picture is one."""
    text = "".join(WORDS.get(int(i), "?") for i in ids)
    return Reply((text,))


JUDGE = ModuleType("judge")
JUDGE.answers = lambda rows: tuple("!" if "!" in a.reply.text else None for a in rows)


def answered(*chains):
    return [
        Answered(
            Example(f"q{n}", ("?",), "A"), read(ids), "?", len(ids), True, np.array(ids, np.int32)
        )
        for n, ids in enumerate(chains)
    ]


def begun(*chains):
    return picture_ablation.chains(answered(*chains), JUDGE, read, (BOI, EOI, LEN))


@pytest.mark.parametrize(
    ("ids", "starts"),
    [
        ([1, 8, 5, 6, 9, 2], [1]),
        ([8, 5, 6, 9, 8, 6, 6, 9], [0, 4]),
        ([1, 2], []),
        ([8, 5, 9, 6, 1], []),  # ends early
        ([8, 5, 6, 7, 9], []),  # too long
        ([1, 8, 5, 6], []),  # cut by the budget
        ([8, 8, 5, 6, 9], [1]),
        ([], []),
    ],
)
def test_whole_pictures_are_found_by_their_marks(ids, starts):
    assert picture_ablation.find_pictures(np.array(ids, np.int32), BOI, EOI, LEN) == starts


def test_a_chain_is_cut_after_its_last_picture_before_the_answer():
    first, second = begun([1, 8, 5, 6, 9, 2, 8, 6, 7, 9, 1, 3], [1, 3], [8, 4, 5, 9, 3, 8, 7, 7, 9])
    assert (first.number, first.starts, first.size) == (0, (1, 6), 4)
    assert first.ids.tolist() == [1, 8, 5, 6, 9, 2, 8, 6, 7, 9]
    # the second drew after its answer: that picture is no reason of it
    assert (second.number, second.starts, second.ids.tolist()) == (2, (0,), [8, 4, 5, 9])
    assert begun([3, 8, 5, 6, 9]) == begun([1]) == []


def test_pictures_are_replaced_by_as_many_tokens_or_cut_out():
    first, second = begun([1, 8, 5, 6, 9, 2, 8, 6, 7, 9, 1], [8, 4, 4, 9, 8, 5, 5, 9])
    forms = picture_ablation.beginnings([first, second], [second.pictures, first.pictures])
    assert {form: [ids.tolist() for ids in those] for form, those in forms.items()} == {
        "own": [[1, 8, 5, 6, 9, 2, 8, 6, 7, 9], [8, 4, 4, 9, 8, 5, 5, 9]],
        "other": [[1, 8, 4, 4, 9, 2, 8, 5, 5, 9], [8, 5, 6, 9, 8, 6, 7, 9]],
        "cut": [[1, 2], []],
    }
    with pytest.raises(ValueError, match="shorter"):
        first.with_pictures(second.pictures[:1])


def test_partners_are_a_permutation_of_other_questions():
    groups = ["x"] * 6 + ["y"] * 3
    questions = [*"aabbcd", *"aef"]
    for seed in range(20):
        found = picture_ablation.partners(groups, questions, seed)
        assert sorted(found) == list(range(9))
        for number, partner in enumerate(found):
            assert groups[number] == groups[partner]
            assert questions[number] != questions[partner]
    some = [picture_ablation.partners(groups, questions, seed) for seed in (0, 0, 1, 2, 3)]
    assert some[0] == some[1] and some[0] not in some[2:]


def test_a_chain_without_another_question_has_no_partner():
    assert picture_ablation.partners(["x", "y", "y"], ["a", "b", "b"], 0) == [None] * 3
    assert picture_ablation.partners([], [], 0) == []
    # three of four are of one question: one of them can be paired
    assert picture_ablation.partners(["x"] * 4, ["a", "a", "b", "a"], 0) == [2, None, 0, None]


def outcome(question, kind, answers, correct, reproduced=True):
    forms = picture_ablation.FORMS
    return Outcome(
        question,
        kind,
        dict(zip(forms, answers, strict=True)),
        dict(zip(forms, correct, strict=True)),
        reproduced,
    )


OUTCOMES = [
    outcome("q0", "k", ("A", "A", "B"), (True, True, False)),
    outcome("q1", "k", ("B", "A", None), (True, False, False)),
    outcome("q2", "l", ("C", "C", "C"), (False, False, False), reproduced=False),
    outcome("q3", "l", (None, "D", None), (False, True, False)),
]
LEFT = [("k", "no_picture"), ("m", "no_picture"), ("k", "no_partner")]


def means(values):
    return {name: value["mean"] for name, value in values.items()}


def test_shares_are_those_counted_by_hand():
    found = picture_ablation.summarize(OUTCOMES, LEFT, 0)
    assert (found["n"], found["questions"], found["reproduced"]) == (4, 4, 0.75)
    assert found["left_out"] == {"no_picture": 2, "no_partner": 1}
    assert means(found["accuracy"]) == {
        "own": 0.5,
        "other": 0.5,
        "cut": 0.0,
        "own - other": 0.0,
        "own - cut": 0.5,
    }
    assert means(found["changed"]) == {"other": 0.5, "cut": 0.5}
    assert means(found["answered"]) == {"own": 0.75, "other": 1.0, "cut": 0.5}
    assert list(found["kinds"]) == ["k", "l", "m"]
    k = found["kinds"]["k"]
    assert k["n"] == 2 and k["left_out"] == {"no_picture": 1, "no_partner": 1}
    assert k["accuracy"]["own - other"] == {"mean": 0.5, "low": 0.0, "high": 1.0}
    assert k["changed"]["cut"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert found["kinds"]["m"] == {
        "n": 0,
        "questions": 0,
        "left_out": {"no_picture": 1, "no_partner": 0},
    }
    plain = picture_ablation.summarize([o._replace(kind=None) for o in OUTCOMES], [], 0)
    assert "kinds" not in plain and plain["accuracy"] == found["accuracy"]


def test_the_table_of_80_columns_has_a_line_for_each_form_of_each_kind():
    results = picture_ablation.summarize([o._replace(kind="triangle") for o in OUTCOMES], LEFT, 0)
    table = picture_ablation.console({"puzzlevqa": results}, "t")
    console = rich.console.Console(width=80, record=True, file=io.StringIO())
    console.print(table)
    lines = [line.split("│") for line in console.export_text().splitlines() if "│" in line]
    cells = [[cell.strip() for cell in line[1:-1]] for line in lines]
    assert [row[:2] for row in cells if "of" in row[1]] == [
        ["puzzlevqa", "4 of 7"],
        ["triangle", "4 of 4"],
        ["k", "0 of 2"],
        ["m", "0 of 1"],
    ]
    own, other, cut = cells[1:4]
    assert [own[0], own[2:]] == ["own", ["", "", "0.75"]]
    assert [other[0], other[4], cut[0], cut[4]] == ["other", "1.00", "cut", "0.50"]
    assert [own[1][:5], other[1][:5], cut[1]] == ["0.50 ", "0.50 ", "0.00 0.00..0.00"]
    assert [other[2][:5], cut[2][:5], other[3][:5], cut[3][:5]] == ["0.00 ", *["0.50 "] * 3]


def test_a_model_that_does_not_draw_and_an_evaluator_without_answers_are_refused():
    picture_ablation.check(2, {"puzzles": puzzlevqa, "scenes": resq, "shapes": grounded})
    with pytest.raises(ValueError, match=r"^eval.picture_ablation is True and this model draws no"):
        picture_ablation.check(0, {"puzzles": puzzlevqa})
    judge = ModuleType("mine")
    with pytest.raises(
        ValueError, match=r"^eval.picture_ablation is True and mine, which judges 'x"
    ):
        picture_ablation.check(2, {"x": judge})


def reply(*segments, **extra):
    return Answered(Example("q", ("?",), "A", extra=extra), Reply(segments), "?", 1, True)


def test_answers_are_compared_as_evaluators_read_them():
    picture = Picture(np.zeros(2, np.int32))
    options = {"options": ("1", "2", "3", "4"), "answer_text": "2"}
    letters = puzzlevqa.answers(
        [
            reply("# Option A\n", picture, "\nThe answer is: (b).", **options),
            reply("Replacing '?' with 1: ", **options),
        ]
    )
    assert letters == ("B", None)
    words = resq.answers([reply("<answer> Yes. </answer>"), reply("<think>", picture)])
    assert words == ("yes", None)
    tagged = grounded.answers([reply("<answer> Two  Dogs.</answer>"), reply("Two dogs")])
    assert tagged == ("two dogs", None)


def test_a_chain_names_its_pictures_with_their_marks():
    chain = Chain(0, np.array([1, 8, 5, 6, 9]), (1,), 4)
    assert [p.tolist() for p in chain.pictures] == [[8, 5, 6, 9]]
