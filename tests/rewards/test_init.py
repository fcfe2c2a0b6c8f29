"""A reward by its name in the table, or by module:function or file.py:function."""

import pathlib

import pytest

from mmcot_jax.rewards import REWARDS, resolve

FILE = pathlib.Path(__file__).parent / "some_rewards.py"


def test_a_name_of_the_table_is_that_function():
    assert resolve("accuracy").function is REWARDS["accuracy"]


def test_a_users_function_is_found_in_a_file_or_a_module():
    assert resolve(f"{FILE}:length").function.__name__ == "length"
    assert resolve("os.path:join").function.__name__ == "join"


def test_a_function_with_an_argument_completions_is_trls():
    assert resolve(f"{FILE}:trl_length").trl and not resolve(f"{FILE}:length").trl


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "acuracy",
            "no reward 'acuracy', did you mean 'accuracy'.; choose from accuracy, ",
        ),
        ("nowhere.module:f", "cannot be imported: No module named 'nowhere'"),
        ("/nowhere/x.py:f", "is '/nowhere/x.py'; there is no Python file /nowhere/x.py"),
        (f"{FILE}:lenght", "has no function 'lenght'"),
        (f"{FILE}:one_argument", r"takes \(example\); a reward takes \(example, reply\)"),
    ],
)
def test_an_unknown_reward_is_refused_with_the_known_ones(name, message):
    with pytest.raises(ValueError, match=message):
        resolve(name)


@pytest.mark.parametrize("attribute", ["needs_images", "looks"])
def test_a_reward_needs_images_by_an_attribute_or_its_former_name(tmp_path, attribute):
    file = tmp_path / "mine.py"
    file.write_text(f"def f(example, reply): ...\n\n\nf.{attribute} = True\n")
    assert resolve(f"{file}:f").needs_images
    assert not resolve(f"{FILE}:length").needs_images
