"""Functions written for TRL's trainer are called as TRL calls them."""

import pathlib

import numpy as np
import pytest

from mmcot_jax.example import Example, Picture, Reply
from mmcot_jax.rewards import resolve, trl

FILE = pathlib.Path(__file__).parent / "some_rewards.py"
IMAGE = np.zeros((4, 4, 3), np.uint8)
EXAMPLES = [
    Example("0", (IMAGE, "how many? "), "two", extra={"kind": "count"}),
    Example("1", ("which? ",), "red"),
]
REPLIES = [Reply(("two",)), Reply(("blue ", Picture(np.arange(4))))]
IDS = [[5, 2], [6, 17, 4, 5, 6, 7, 16, 2]]


def called(name: str, replies=REPLIES, **options) -> trl.Called:
    return trl.call(resolve(f"{FILE}:{name}").function, EXAMPLES, replies, IDS, **options)


def test_a_function_receives_lists_and_columns():
    assert called("trl_length").values == [3.0, 12.0]  # "blue <image>"


def test_an_async_function_is_awaited_and_its_logs_are_kept():
    found = called("trl_async")
    assert found.values == [1.0, 0.0]
    assert found.extra == {"first": ["t", "b"]}
    assert found.metrics == {"mean_prompt": (17 + 7) / 2}  # "<image>how many? ", "which? "


def test_none_means_not_applicable():
    assert called("trl_async", replies=[Reply(()), REPLIES[1]]).values == [None, 0.0]


def test_in_a_chat_a_function_receives_messages():
    assert called("trl_chat", chat=True).values == [1.0, 0.0]


def test_a_function_without_kwargs_receives_the_arguments_it_names():
    assert called("trl_strict", step=40).values == [42, 48]


def test_another_number_of_values_is_refused():
    with pytest.raises(ValueError, match="returned 1 values for 2 completions"):
        called("trl_short")


def test_a_column_of_another_length_is_refused():
    def logs(completions, log_extra):
        log_extra("x", [1])

    with pytest.raises(ValueError, match="column 'x' has 1 entries for 2 rows"):
        trl.call(logs, EXAMPLES, REPLIES, IDS)
