"""Which of two conventions a function follows, by its parameters."""

import functools
import os.path

import pytest

from mmcot_jax.rewards import signature


class Scores:
    def __call__(self, example, reply):
        return 1.0


@pytest.mark.parametrize(
    "function",
    [
        lambda example, reply: 0.0,
        lambda question, answer: 0.0,
        lambda x, y, weight=1.0: 0.0,
        lambda *args: 0.0,
        lambda example, reply, **options: 0.0,
        functools.partial(lambda example, reply, weight: 0.0, weight=2.0),
        Scores(),
        os.path.join,
    ],
)
def test_two_required_arguments_are_example_and_reply(function):
    assert not signature.follows_trl(function)


@pytest.mark.parametrize(
    "function",
    [
        lambda completions: [],
        lambda prompts, completion_ids: [],
        lambda completion_ids, **kwargs: [],
        lambda solution, completions, prompts: [],
        lambda answer, **kwargs: [],
        lambda answer, solution, **kwargs: [],
        lambda **kwargs: [],
        lambda *, completions, weight=1.0: [],
        lambda images, completion_images: [],
        functools.partial(lambda completions, scale, **kwargs: [], scale=2.0),
    ],
)
def test_arguments_of_trls_trainer_are_passed_by_name(function):
    assert signature.follows_trl(function)


@pytest.mark.parametrize(
    ("function", "given"), [(lambda example: 0.0, "example"), (lambda a, b, c: 0.0, "a, b, c")]
)
def test_a_function_that_neither_can_call_is_refused(function, given):
    with pytest.raises(ValueError, match=rf"takes \({given}\); a reward takes \(example, reply\)"):
        signature.follows_trl(function)
