"""A reward by its name in the table, or by module:function or file.py:function."""

import pathlib

import pytest

from mmcot_jax.rewards import REWARDS, resolve, short_names

FILE = pathlib.Path(__file__).parent / "some_rewards.py"


def test_a_name_of_the_table_is_that_function():
    assert resolve("accuracy").function is REWARDS["accuracy"]


def test_a_users_function_is_found_in_a_file_or_a_module():
    assert resolve(f"{FILE}:length").function.__name__ == "length"
    assert resolve("os.path:join").function.__name__ == "join"


def test_a_function_with_an_argument_completions_is_trls():
    assert resolve(f"{FILE}:trl_length").trl and not resolve(f"{FILE}:length").trl


def test_a_class_is_instantiated_once():
    reward = resolve(f"{FILE}:Repetition")
    assert reward.trl and reward is resolve(f"{FILE}:Repetition")
    assert reward.function(completion_ids=[[1, 1]]) == [-0.5]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "acuracy",
            "no reward 'acuracy', did you mean 'accuracy'.; choose from accuracy, ",
        ),
        ("nowhere.module:f", "cannot be imported: No module named 'nowhere'"),
        ("/nowhere/x.py:f", "is '/nowhere/x.py'; there is no Python file /nowhere/x.py"),
        (str(FILE), r"names no function of that file; give .*some_rewards.py:FUNCTION, several"),
        (f"{FILE}:lenght", "has no function 'lenght', did you mean 'length'"),
        (f"{FILE}:one_argument", r"takes \(example\); a reward takes \(example, reply\)"),
        (f"{FILE}:Unfinished", r"is a class, and Unfinished\(\) raises TypeError: .*'scale'"),
    ],
)
def test_an_unknown_reward_is_refused_with_the_known_ones(name, message):
    with pytest.raises(ValueError, match=message):
        resolve(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "SyntaxError|invalid syntax"),
        ("x = y\n", "NameError: name 'y' is not defined"),
        ("import nowhere_at_all\n", "No module named 'nowhere_at_all'"),
        ("import sys\nsys.exit(0)\n", "SystemExit"),
        ("raise ValueError('of its own')\n", "of its own"),
    ],
)
def test_a_file_that_cannot_be_imported_is_one_line(tmp_path, text, said):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        resolve(f"{file}:f")
    assert "\n" not in str(error.value) and "mine.py" in str(error.value)


@pytest.mark.parametrize("attribute", ["needs_images", "looks"])
def test_a_reward_needs_images_by_an_attribute_or_its_former_name(tmp_path, attribute):
    file = tmp_path / "mine.py"
    file.write_text(f"def f(example, reply): ...\n\n\nf.{attribute} = True\n")
    assert resolve(f"{file}:f").needs_images
    assert resolve(f"{file}:f").reads_all_fields
    assert not resolve(f"{FILE}:length").needs_images


def test_a_trl_reward_that_names_pictures_reads_pixels():
    assert resolve(f"{FILE}:trl_images").reads_pixels
    assert not resolve(f"{FILE}:trl_images").needs_images  # no reply's picture is decoded
    assert resolve(f"{FILE}:trl_drawn").needs_images
    assert not resolve(f"{FILE}:trl_length").reads_pixels


def test_short_names_are_the_functions_and_differ():
    assert short_names(["accuracy", "a/b.py:f", "x.y:g"]) == ("accuracy", "f", "g")
    assert short_names(["a/b.py:f", "a/c.py:f", "x.y:f"]) == ("b.f", "c.f", "y.f")
    assert short_names(["accuracy", "a/b.py:accuracy"]) == ("accuracy", "b.accuracy")
    assert short_names(["a/b.py:f", "c/b.py:f"]) == ("a/b.py:f", "c/b.py:f")
