"""Errors of the input are one line and status 2; suggestions for misspelt names."""

import json

import pytest

from mmcot_jax import boxes, errors


def raised(function) -> ValueError:
    with pytest.raises(ValueError) as caught:
        function()
    return caught.value


def our_error():
    boxes.from_xywh("car", [1, 2, 3], boxes.thousand())


def library_error():
    json.loads("{")


def test_a_similar_name_is_suggested_and_no_other():
    assert errors.suggest("stpes", ["steps", "seed"]) == ", did you mean 'steps'?"
    assert errors.suggest("x", ["steps", "seed"]) == ""


def test_a_value_that_is_no_choice_is_named_with_the_choices():
    errors.check_choice("split", "test", ("train", "test"))
    message = r"split is 'trian', did you mean 'train'\?; choose from train, test"
    with pytest.raises(ValueError, match=message):
        errors.check_choice("split", "trian", ("train", "test"))
    with pytest.raises(ValueError, match=r"split is None; choose from train, test"):
        errors.check_choice("split", None, ("train", "test"))


def test_only_an_error_of_this_package_is_an_input_error():
    assert errors.is_input_error(raised(our_error))
    assert not errors.is_input_error(raised(library_error))


def test_a_command_ends_in_its_own_status():
    assert errors.run_command(lambda: None) == 0
    assert errors.run_command(lambda: 7) == 7


def test_an_input_error_is_one_line_and_status_2(capsys):
    assert errors.run_command(our_error, prefix="score") == 2
    line = "score: box [1, 2, 3] of 'car' has 3 numbers; give x, y, w, h\n"
    assert capsys.readouterr() == ("", line)


def test_any_other_error_is_raised():
    with pytest.raises(json.JSONDecodeError):
        errors.run_command(library_error)
    with pytest.raises(KeyError):
        errors.run_command(lambda: {}["x"])
