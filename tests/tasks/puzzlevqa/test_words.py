import random

import pytest

from mmcot_jax.tasks.puzzlevqa import words

ROW = "The {name} row is {row}, as said of {name}."


def test_a_template_reads_back_what_it_wrote():
    values = {"name": "first", "row": [1, "?", 3]}
    assert words.parse(ROW, ROW.format(**values)) == values


def test_a_repeated_field_must_repeat():
    with pytest.raises(ValueError, match="does not match"):
        words.parse(ROW, "The first row is [1], as said of second.")


def test_a_text_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"'Nothing\.' does not match .* of this kind"):
        words.parse(ROW, "Nothing.")


def test_a_broken_list_is_refused():
    with pytest.raises(ValueError, match="has an incomplete list; correct the record"):
        words.parse(ROW, "The a row is [1, '?, as said of a.")


def test_numbers_are_offered_up_to_the_next_power_of_ten():
    rng = random.Random(0)
    for answer, limit in ((10, 10), (11, 100), (101, 1000)):
        offered = {int(n) for _ in range(200) for n in words.number_options(rng, answer)} - {answer}
        assert limit / 2 < max(offered) < limit


def test_nine_cells_make_three_rows():
    assert words.rows("abcdefghi") == {"first": [*"abc"], "second": [*"def"], "third": [*"ghi"]}


def test_options_hold_the_answer_once_at_any_place():
    rng = random.Random(0)
    drawn = [words.options(rng, "b", ["a", "b", "c", "d", "e"], 3) for _ in range(200)]
    assert all(len(set(options)) == 3 and "b" in options for options in drawn)
    assert {options.index("b") for options in drawn} == {0, 1, 2}


def test_a_record_without_its_answer_among_the_options_is_refused():
    assert words.record_options({"options": [3, 4], "answer": "4"}) == ("3", "4")
    with pytest.raises(ValueError, match=r"'5' is no option .* one of \['3', '4'\]"):
        words.record_options({"options": [3, 4], "answer": "5"})


def test_orange_never_stands_beside_yellow():
    rng = random.Random(0)
    for _ in range(200):
        names = words.three_colors(rng)
        assert len(set(names)) == 3
        assert not {"orange", "yellow"} <= set(names)
