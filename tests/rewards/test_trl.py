"""Functions written for TRL's trainer are called as TRL calls them."""

import asyncio
import functools
import pathlib

import numpy as np
import pytest

from mmcot_jax.example import Example, Picture, Reply
from mmcot_jax.rewards import Reward, resolve, signature, trl

FILE = pathlib.Path(__file__).parent / "some_rewards.py"
IMAGE = np.full((4, 6, 3), 7, np.uint8)
DRAWN = Picture(np.arange(4), np.full((2, 2, 3), 9, np.uint8))
EXAMPLES = [
    Example("0", (IMAGE, "how many? "), "two", extra={"kind": "count"}),
    Example("1", ("which? ",), "red"),
]
REPLIES = [Reply(("two",)), Reply(("blue ", Picture(np.arange(4))))]
IDS = [[5, 2], [6, 17, 4, 5, 6, 7, 16, 2]]
SAMPLES = trl.Samples(EXAMPLES, REPLIES, IDS)


def called(function, samples=SAMPLES, chat=False) -> trl.Called:
    reward = resolve(f"{FILE}:{function}") if isinstance(function, str) else own(function)
    return trl.call(reward, samples, chat=chat)


def own(function) -> Reward:
    return Reward("own", function, signature.follows_trl(function))


def test_a_function_receives_lists_and_columns():
    assert called("trl_length").values == [3.0, 12.0]  # "blue <image>"


def test_an_async_function_is_awaited_and_its_logs_are_kept():
    found = called("trl_async")
    assert found.values == [1.0, 0.0]
    assert found.extra == {"first": ["t", "b"]}
    assert found.metrics == {"mean_prompt": [(17 + 7) / 2]}  # "<image>how many? ", "which? "


def test_none_means_not_applicable():
    replies = [Reply(()), REPLIES[1]]
    assert called("trl_async", SAMPLES._replace(replies=replies)).values == [None, 0.0]


def test_a_function_without_kwargs_receives_the_arguments_it_names():
    samples = SAMPLES._replace(state=trl.TrainerState(40, 100, 2.5))
    assert called("trl_strict", samples).values == [42, 48]
    share = called(lambda trainer_state, completions: [trainer_state.max_steps] * 2, samples)
    assert share.values == [100, 100]
    epochs = called(lambda trainer_state, completions: [trainer_state.epoch] * 2, samples)
    assert epochs.values == [2.5, 2.5]


def test_a_function_gets_what_it_names_in_any_order_and_needs_no_completions():
    assert called(lambda completion_ids, **kwargs: [len(x) for x in completion_ids]).values == [
        2,
        8,
    ]
    assert called(lambda prompts, completion_ids: [len(x) for x in completion_ids]).values == [2, 8]
    assert called(lambda answer, prompts: [len(x) for x in answer]).values == [3, 3]
    assert called(lambda kind, completions: [x is not None for x in kind]).values == [True, False]
    assert called(lambda **kwargs: [len(x) for x in kwargs["completions"]]).values == [3, 12]


def test_a_function_reads_pictures_of_questions_and_replies():
    samples = SAMPLES._replace(replies=[REPLIES[0], Reply(("b", DRAWN, Picture(np.arange(2))))])
    seen = []

    def sizes(completions, images, completion_images, image, **kwargs):
        seen.append((images, completion_images, image))
        return [0.0] * len(completions)

    called(sizes, samples)
    ((images, drawn, image),) = seen
    assert images[0][0].size == (6, 4) and images[0][0].getpixel((5, 3)) == (7, 7, 7)
    assert image[0] is images[0][0] and images[1] == [] and image[1] is None
    assert drawn[0] == [] and drawn[1][0].getpixel((1, 1)) == (9, 9, 9) and drawn[1][1] is None

    named = samples._replace(
        examples=[e._replace(extra=dict(e.extra) | {"image": "1.jpg"}) for e in samples.examples]
    )
    called(sizes, named)
    assert seen[1][2][0].size == (6, 4)  # not the name of its file

    def mentions(**kwargs):
        return [len(row) for row in kwargs["images"]]

    def any_name(**kwargs):
        return [len(row) for row in kwargs["".join(("im", "ages"))]]

    assert called(mentions, samples).values == [1, 0]
    with pytest.raises(KeyError):
        called(any_name, samples)
    any_name.needs_images = True
    assert called(any_name, samples).values == [1, 0]


def test_callables_of_every_make_run():
    class Scaled:
        def __init__(self, scale=2.0):
            self.scale = scale

        def __call__(self, completions, **kwargs):
            return [self.scale * len(x) for x in completions]

    class Async:
        async def __call__(self, completions, **kwargs):
            await asyncio.sleep(0)
            return [1.0 for _ in completions]

    def decorated(function):
        def wrapper(*args, **kwargs):  # without functools.wraps
            return function(*args, **kwargs)

        return wrapper

    def strict(completions, answer):
        return [float(x == y) for x, y in zip(completions, answer, strict=True)]

    assert called(Scaled(3.0)).values == [9.0, 36.0]
    assert called(Async()).values == [1.0, 1.0]
    assert called(functools.partial(Scaled(), unused=1)).values == [6.0, 24.0]
    assert called(decorated(strict)).values == [1.0, 0.0]
    assert called(functools.partial(decorated(strict))).values == [1.0, 0.0]
    assert called(functools.wraps(strict)(decorated(strict))).values == [1.0, 0.0]
    assert called(lambda completions: np.array([0.5, 1], np.float16)).values == [0.5, 1.0]
    assert called(lambda completions: (len(x) for x in completions)).values == [3, 12]


def indexed(completions, **kwargs):
    return [float(len(completion[0]["content"])) for completion in completions]


def last(completions):
    return [float(len(completion[-1].get("content", ""))) for completion in completions]


def looped(completions, **kwargs):
    return [sum(len(m["content"]) for m in c if m["role"] == "assistant") for c in completions]


def swallows(completions, **kwargs):
    def text(completion):
        try:
            return completion[0]["content"]
        except Exception:
            return ""

    return [float(len(text(completion))) for completion in completions]


def insists(completions, **kwargs):
    if not all(isinstance(completion, list) for completion in completions):
        raise TypeError("conversational completions, please")
    return [float(len(completion[0]["content"])) for completion in completions]


def of_the_prompt(prompts, completion_ids):
    return [float(len(prompt[-1]["content"])) for prompt in prompts]


async def awaited(completions, **kwargs):
    await asyncio.sleep(0)
    return indexed(completions)


def string(completions, **kwargs):
    return [float(completion[0] == "t") for completion in completions]


def either(completions, **kwargs):
    texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    return [float(len(text)) for text in texts]


def broken(completions, **kwargs):
    raise RuntimeError("not today")


def ends(completions, **kwargs):
    raise SystemExit(0)


@pytest.mark.parametrize("function", [indexed, last, looped, swallows, insists, awaited])
def test_a_function_of_messages_is_found_out(function):
    reward = own(function)
    assert trl.wants_messages(reward, SAMPLES)
    assert trl.call(reward, SAMPLES, chat=True).values == [3.0, 12.0]


def test_a_function_of_the_prompts_messages_is_found_out():
    assert trl.wants_messages(own(of_the_prompt), SAMPLES)
    assert called(of_the_prompt, chat=True).values == [17.0, 7.0]


@pytest.mark.parametrize("function", [string, either, broken, ends])
def test_any_other_function_gets_strings(function):
    assert not trl.wants_messages(own(function), SAMPLES)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda completions: [1.0], "returned 1 values for 2 completions"),
        (lambda completions: 1.0, "returned a float; return a list with a number for each of the"),
        (lambda completions: None, "returned a NoneType; return a list"),
        (lambda completions: iter(lambda: 1.0, 2.0), "returned more than 2 values for 2"),
        (
            lambda completions, boxes: [0.0] * 2,
            "takes boxes, and the data has no such column",
        ),
        (lambda completions, log_extra: log_extra("x", [1]), "'x' has 1 entries for 2 rows"),
        (lambda completions, log_metric: log_metric("x", "a"), "log_metric.'x', 'a'.: give a"),
    ],
)
def test_a_wrong_return_value_column_or_log_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        called(function)


def test_a_column_id_of_the_data_is_passed_by_its_name():
    example = Example("table/train/0", ("?",), "a", extra={"id": "own-0"})
    samples = trl.Samples([example], [Reply(("b",))], [[1]])
    assert called(lambda completions, id, **kwargs: [float(id == ["own-0"])], samples).values == [1]


def test_a_columns_name_cannot_replace_an_argument_of_the_trainer():
    example = Example("0", ("?",), "a", extra={"completions": "mine", "trainer_state": 1})
    samples = trl.Samples([example], [Reply(("b",))], [[1]])
    assert called(lambda completions: [len(completions[0])], samples).values == [1]
    state = called(lambda trainer_state, completions: [trainer_state.global_step], samples)
    assert state.values == [0]
