"""VQA's accuracy over ten human answers, by hand."""

import pytest

from mmcot_jax.answers.vqa import normalize_text_vqa
from mmcot_jax.evals import vqa
from mmcot_jax.example import Answered, Example, Reply


def humans(*counts):
    """Returns ten answers: humans(("red", 3)) are three times red and seven others."""
    said = [answer for answer, n in counts for _ in range(n)]
    return tuple(said + [f"other {n}" for n in range(10 - len(said))])


def answered(text, said, *, whole=False, normal_form="vqa", llava=None, answer="red", **extra):
    fields = {
        "options": (),
        "possible_answers": said[:1] or (answer,),
        "boxes": (),
        "space": None,
        "reads_whole_reply": whole,
        "human_answers": said,
        "groups": {"answer_type": "other"},
        "llava_answers": llava or {},
        "normal_form": normal_form,
    }
    example = Example("q/1", ("?",), answer, extra=fields | extra)
    return Answered(example, Reply((text,)), "?", tokens=5, ended=True)


@pytest.mark.parametrize(
    ("count", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)]
)
def test_leave_one_out_of_ten_humans(count, score):
    # of 3: the 3 who said it see 2 others, 2/3 each; the 7 see 3, 1 each: (3 * 2/3 + 7) / 10
    assert vqa.accuracy("Red.", humans(("red", count))) == pytest.approx(score)


def test_both_sides_are_in_the_normal_form_and_any_number_of_humans_is_allowed():
    assert vqa.accuracy("2", humans(("two", 2), ("2", 2))) == 1.0
    assert vqa.accuracy("none", humans(("none", 10))) == 1.0
    assert vqa.accuracy("red", ("red", "red", "blue")) == pytest.approx((1 / 3 + 1 / 3 + 2 / 3) / 3)
    assert vqa.accuracy("x,y", humans(("xy", 4)), normalize_text_vqa) == 1.0
    assert vqa.accuracy("x,y", humans(("xy", 4))) == 0.0
    assert vqa.accuracy(None, humans(("red", 4))) == 0.0
    with pytest.raises(ValueError, match="no human answer to compare with; give those of"):
        vqa.accuracy("red", ())


def test_results_by_answer_type_and_what_is_unanswered():
    rows = [
        answered("<answer>red</answer>", humans(("red", 3))),
        answered("red", humans(("red", 4)), groups={"answer_type": "number"}),
        answered("red", humans(("red", 4)), whole=True, groups={"answer_type": "number"}),
    ]
    results, kept = vqa.summarize(rows)
    assert set(results) == {"official"}
    official = results["official"]
    assert official["accuracy"] == pytest.approx(100 * (0.9 + 0 + 1) / 3)
    assert (official["n"], official["unanswered"]) == (3, pytest.approx(100 / 3))
    assert official["by_answer_type"]["other"] == {"accuracy": pytest.approx(90), "n": 1}
    assert official["by_answer_type"]["number"] == {"accuracy": 50.0, "n": 2}
    assert vqa.correct(rows) == (True, False, True)
    assert [row["score"] for row in kept] == [pytest.approx(0.9), 0.0, 1.0]
    assert kept[0]["benchmark"]["human_answers"][:3] == ("red",) * 3 and kept[0]["space"] is None


def test_the_studys_agreement_with_llava_stands_beside():
    both = {"reference": "blue", "strict": "red"}
    rows = [answered("<answer>Red</answer>", humans(("red", 4)), llava=both)]
    results, _ = vqa.summarize(rows)
    assert results["official"]["accuracy"] == 100.0
    agreement = results["llava_agreement"]
    assert (agreement["n"], agreement["strict"]["accuracy"]) == (1, 100.0)
    assert agreement["reference"]["accuracy"] == 0.0


def test_a_question_without_human_answers_has_the_agreement_only():
    rows = [answered("<answer>red</answer>", (), llava={"reference": "Red ", "strict": "Red "})]
    results, _ = vqa.summarize(rows)
    assert set(results) == {"llava_agreement"}
    assert results["llava_agreement"]["reference"]["accuracy"] == 100.0
    assert vqa.correct(rows) == (True,)


def test_vizwiz_unanswerable_by_hand():
    none, some = humans(("unanswerable", 6)), humans(("cat", 6))
    rows = [
        answered("<answer>Unanswerable</answer>", none, answerable=False),
        answered("<answer>unanswerable.</answer>", some, answerable=True),
        answered("<answer>cat</answer>", none, answerable=False),
        answered("cat", some, answerable=True),
    ]
    found = vqa.summarize(rows)[0]["official"]
    assert found["accuracy"] == 25.0
    assert found["unanswerable"] == {"precision": 50.0, "recall": 50.0, "f1": 50.0, "n": 2}
