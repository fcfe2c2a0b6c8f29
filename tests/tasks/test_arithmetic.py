"""Sums and differences: answers, chains, splits, refused options."""

import re

import pytest

from mmcot_jax import rewards
from mmcot_jax.example import Reply
from mmcot_jax.tasks import arithmetic

SPLITS = ("train", "validation", "test")


def value(text: str) -> int:
    """What a sum such as "-4 + 39 - 41" comes to."""
    assert re.fullmatch(r"-?\d+( [+-] \d+)*", text)
    return sum(int(sign + n) for sign, n in re.findall(r"([+-]?) ?(\d+)", text))


@pytest.mark.parametrize("terms", [2, 3, 8])
def test_the_answer_is_that_of_the_question_and_each_step_follows(terms):
    for example in arithmetic.load(count=60, terms=terms, largest=30):
        question = example.extra["question"]
        numbers = re.findall(r"\d+", question)
        assert len(numbers) == terms and all(1 <= int(n) <= 30 for n in numbers)
        assert example.prompt == (f"USER: {question}\nASSISTANT:",)
        asked = question.removeprefix("What is ").removesuffix("?")
        assert value(asked) == int(example.answer)
        (chain,) = example.rationale
        thought, _, end = chain.removeprefix(" <think>").partition("</think> ")
        assert end == f"<answer>{example.answer}</answer>"
        steps = [step.split(" = ") for step in thought.removesuffix(".").split(". ")]
        assert len(steps) == terms - 1
        assert all(value(left) == int(right) for left, right in steps)
        before = [left.rsplit(" ", 2)[0] for left, _ in steps]
        assert before == [numbers[0], *(right for _, right in steps[:-1])]


def test_a_taught_chain_gets_every_reward_and_another_answer_none_for_it():
    (example,) = arithmetic.load(count=1)
    wrong = example.rationale[0].replace(f"<answer>{example.answer}", "<answer>1000")
    for text, accuracy in ((example.rationale[0], 1.0), (wrong, 0.0)):
        assert rewards.REWARDS["tagged_accuracy"](example, Reply((text,))) == accuracy
        assert rewards.REWARDS["tagged_format"](example, Reply((text,))) == 1.0


def test_no_question_is_there_twice_or_in_two_splits():
    found = {s: arithmetic.load(count=100, terms=2, largest=40, split=s) for s in SPLITS}
    questions = [e.extra["question"] for of in found.values() for e in of]
    assert len(set(questions)) == 300
    for split, same in (("train", False), ("validation", True), ("test", True)):
        again = arithmetic.load(count=100, terms=2, largest=40, split=split, seed=1)
        assert ([e.answer for e in again] == [e.answer for e in found[split]]) == same
    none = arithmetic.load(count=100, terms=2, largest=40, chain="none")
    assert [e.prompt for e in none] == [e.prompt for e in found["train"]]
    assert not any(e.rationale for e in none)


@pytest.mark.parametrize("split", SPLITS)
def test_as_many_questions_as_are_offered_are_there(split):
    most = 64 if split == "train" else 8
    options = {"terms": 2, "largest": 9, "split": split}
    assert len({e.prompt for e in arithmetic.load(count=most, **options)}) == most
    with pytest.raises(ValueError, match=f"give 1 to {most} questions of split '{split}'"):
        arithmetic.stream(count=most + 1, **options)


@pytest.mark.parametrize(
    "options,said",
    [
        ({"chain": "drawn"}, "chain"),
        ({"split": "dev"}, "split"),
        ({"count": 0}, "count is 0; with 3 terms up to 99, give 1 to"),
        ({"terms": 1}, "terms is 1; give 2 to 8 numbers"),
        ({"terms": 9}, "terms is 9; give 2 to 8 numbers"),
        ({"largest": 8}, "largest is 8; give a largest number of at least 9"),
    ],
)
def test_faults_of_options_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        arithmetic.stream(**{"count": 1, **options})
