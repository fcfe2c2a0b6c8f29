"""Questions about shapes: the scene decides their answers."""

import random
from collections import Counter

import pytest

from mmcot_jax.tasks.shapes import questions
from mmcot_jax.tasks.shapes.questions import KINDS, holds, yes_no
from mmcot_jax.tasks.shapes.world import CELLS, Thing

TOP_LEFT = Thing("red", "circle", 0, 0, 0, 5)
RIGHT = Thing("blue", "square", 5, 16, 9, 7)


def test_directions_are_of_columns_and_rows():
    found = [d for d in questions.DIRECTIONS if holds(TOP_LEFT, d, RIGHT)]
    assert found == ["left", "above"]
    assert [d for d in questions.DIRECTIONS if holds(RIGHT, d, TOP_LEFT)] == ["right", "below"]
    assert not any(holds(RIGHT, d, RIGHT) for d in questions.DIRECTIONS)


def target(ask, times=100):
    rng = random.Random(0)
    return [ask(rng) for _ in range(times)]


def test_the_color_in_question_is_that_of_the_only_thing_of_its_shape():
    for question in target(KINDS["color"]):
        shape = question.text.removeprefix("What color is the ").removesuffix("?")
        assert [t.color for t in question.scene if t.shape == shape] == [question.answer]
        assert question.reason == f"The {shape} is {question.answer}."


def test_a_shape_named_by_its_place_exists():
    for question in target(KINDS["color_at"]):
        (thing,) = question.relevant
        assert question.text == f"What color is the shape at the {CELLS[thing.cell]}?"
        assert question.answer == thing.color and thing in question.scene


def test_the_count_is_of_all_things_of_a_shape_which_are_all_relevant():
    for question in target(KINDS["count"]):
        shape = question.text.removeprefix("How many ").removesuffix("s are there?")
        assert [t for t in question.scene if t.shape == shape] == list(question.relevant)
        assert question.answer == str(len(question.relevant))
        assert 1 <= len(question.scene) <= 4


def test_exactly_one_direction_answers_a_question_of_place():
    for question in target(KINDS["place"]):
        one, other = question.relevant
        assert question.text == f"Where is the {one.name}, seen from the {other.name}?"
        assert [d for d in question.options if holds(one, d, other)] == [question.answer]


def test_the_description_decides_yes_or_no_and_both_are_equally_frequent():
    for question in target(yes_no):
        one, other = question.relevant
        words = question.text.removeprefix(f"Is the {one.name} ")
        direction = words.removesuffix(f" the {other.name}?").removesuffix(" of")
        assert question.answer == ("Yes" if holds(one, direction, other) else "No")
    answers = Counter(q.answer for q in target(yes_no, 300))
    assert 120 < answers["Yes"] < 180


@pytest.mark.parametrize("kind", KINDS)
def test_no_answer_is_much_more_frequent_than_another(kind):
    answers = Counter(q.answer for q in target(KINDS[kind], 300))
    assert len(answers) == 4 and min(answers.values()) > 50 and max(answers.values()) < 100
