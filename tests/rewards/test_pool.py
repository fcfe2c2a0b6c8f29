"""Rewards in processes: one that fails affects neither the others nor the run."""

import math
import pathlib
import pickle
import time

import numpy as np
import pytest

from mmcot_jax.example import Example, Picture, Reply
from mmcot_jax.rewards import workers
from mmcot_jax.rewards.pool import Pool, check_rewards
from mmcot_jax.rewards.results import Failure, FailureWatch, RewardResult, failure_mask

FILE = pathlib.Path(__file__).parent / "some_rewards.py"
WORDS = ("a", "bh", "cc", "")
EXAMPLES = [Example(str(i), ("?",), "a") for i in range(len(WORDS))]
REPLIES = [Reply((word,)) for word in WORDS]
BAD = ("raises", "dies", "says_nan", "says_words")


def own(*names: str) -> list[str]:
    return [f"{FILE}:{name}" for name in names]


def replies(*words: str) -> list[Reply]:
    return [Reply((word,)) for word in words]


@pytest.fixture(scope="module")
def pool():
    names = ("length", *BAD, "trl_length", "trl_chat", "trl_ranks", "trl_calls", "trl_all")
    with Pool(own(*names), timeout_s=30.0, processes=2) as pool:
        yield pool


def columns(scored: RewardResult, pool: Pool) -> dict[str, list[float]]:
    return dict(zip(pool._short, scored.values.T.tolist(), strict=True))


def test_values_are_in_the_order_of_rows_and_rewards(pool):
    scored = pool.submit(EXAMPLES, REPLIES).result()
    found = columns(scored, pool)
    assert found["length"] == [0.1, 0.2, 0.2, 0.0]
    assert found["trl_length"] == [1, 2, 2, 0]
    assert found["trl_chat"] == [1, 0, 0, 0]  # messages, beside rewards of strings
    assert scored.times["length"] > 0


def test_a_reward_receives_the_epoch():
    with Pool([f"{FILE}:trl_epoch"], timeout_s=30.0, processes=1, epoch_steps=4) as pool:
        assert pool.submit(EXAMPLES, REPLIES, step=6).result().values[:, 0].tolist() == [1.5] * 4
    with Pool([f"{FILE}:trl_epoch"], timeout_s=30.0, processes=1) as pool:  # its length is unknown
        assert pool.submit(EXAMPLES, REPLIES, step=6).result().values[:, 0].tolist() == [0.0] * 4


def test_a_failed_sample_is_reported_with_its_row_and_has_no_value(pool):
    scored = pool.submit(EXAMPLES, REPLIES).result()
    expected = {
        "raises": ("raised", r"RuntimeError: no such word (some_rewards.py:"),
        "dies": ("died", "its process ended with status 1"),
        "says_nan": ("nan", "it returned nan"),
        "says_words": ("type", "it returned a str, 'good'"),
    }
    for name, (kind, message) in expected.items():
        (failure,) = [f for f in scored.failures if f.reward == name]
        assert (failure.row, failure.kind) == (1, kind) and message in failure.message
        np.testing.assert_array_equal(columns(scored, pool)[name], [1.0, math.nan, 1.0, 1.0])
    assert len(scored.failures) == 4


def test_parts_sum_to_the_reward_and_anything_else_in_a_list_is_a_fault():
    names = [f"{FILE}:{name}" for name in ("halves", "trl_halves", "wrong_parts", "length")]
    with Pool(names, timeout_s=30.0, processes=1) as pool:
        scored = pool.submit([Example("0", ("?",), "a")] * 2, replies("abaa", "bbab")).result()
    halves = [[(0, 2, 0.5), (2, 4, 1.0)], [(0, 2, 0.0), (2, 4, 0.5)]]
    assert scored.parts["halves"] == scored.parts["trl_halves"] == halves
    assert scored.values[:, :2].tolist() == [[1.5, 1.5], [0.5, 0.5]]
    assert set(scored.parts) == {"halves", "trl_halves"}
    faults = [(f.reward, f.row, f.kind) for f in scored.failures]
    assert faults == [("wrong_parts", 0, "type"), ("wrong_parts", 1, "type")]
    said = "it returned a list, [(2, 1, 0.5)]; return a number, or parts (start, end, value) with"
    assert said in scored.failures[0].message


def test_a_reply_without_parts_is_worth_nothing():
    with Pool([f"{FILE}:each_a"], timeout_s=30.0, processes=1) as pool:
        scored = pool.submit([Example("0", ("?",), "a")] * 2, replies("ba", "bb")).result()
    assert scored.values.tolist() == [[1.0], [0.0]] and not scored.failures
    assert scored.parts["each_a"] == [[(1, 2, 1.0)], []]


def test_parts_that_are_shares_of_1_sum_to_1():
    with Pool([f"{FILE}:sevenths"], timeout_s=30.0, processes=1) as pool:
        scored = pool.submit([Example("0", ("?",), "a")] * 2, replies("abababa", "ab")).result()
    assert sum([1 / 7] * 7) < 1  # a reward below 1 is not right
    assert scored.values.tolist() == [[1.0], [pytest.approx(2 / 7)]]


def test_a_call_gets_one_group_and_one_that_raises_costs_no_other(pool):
    first, second = Example("0", ("?",), "a"), Example("1", ("?",), "a")
    words = ("bad", "b", "c", "d", "a", "aaaa", "aa", "aaa")
    scored = pool.submit([first] * 4 + [second] * 4, replies(*words)).result()
    found = columns(scored, pool)
    np.testing.assert_allclose(found["trl_ranks"], [math.nan] * 4 + [1, 0, 2 / 3, 1 / 3])
    np.testing.assert_array_equal(found["trl_calls"], [math.nan] * 4 + [4] * 4)
    assert found["trl_all"] == [8] * 8  # by f.whole_batch
    failed = [(f.reward, f.row) for f in scored.failures if f.reward in ("trl_ranks", "trl_calls")]
    assert sorted(failed) == sorted(
        (n, row) for n in ("trl_ranks", "trl_calls") for row in range(4)
    )
    assert scored.logged == {"trl_calls": {"rows": 4.0}}
    assert scored.extra == {"trl_calls": {"call": [None] * 4 + ["a"] * 4}}
    # two questions that are one object
    scored = pool.submit([first] * 8, replies(*words), group_size=4).result()
    np.testing.assert_array_equal(columns(scored, pool)["trl_calls"], [math.nan] * 4 + [4] * 4)


def test_pixels_are_sent_only_to_rewards_that_read_them(monkeypatch):
    photograph, shown = np.zeros((100, 200, 3), np.uint8), np.zeros((10, 10, 3), np.uint8)
    example = Example("q", (photograph, "?"), "a", ("A ", photograph), {"boxes": (1, 2, 3)})
    drawn = [Reply((word, Picture(np.arange(4), shown))) for word in WORDS]
    names = ("pixels", "drawn", "trl_prompts", "trl_images", "trl_drawn")
    sizes = {}

    def weigh(job):
        sizes[job.name.rpartition(":")[2], sum(map(len, job.calls))] = len(pickle.dumps(job))
        return pickle.dumps(job)

    monkeypatch.setattr(workers, "encode", weigh)
    with Pool(own(*names), timeout_s=30.0, processes=1) as pool:
        scored = pool.submit([example] * 4, drawn).result()
    assert scored.failures == ()
    # 4 ids; the photograph, 4 ids, the picture; "<image>?" and three numbers; widths; heights
    np.testing.assert_array_equal(scored.values, [[4, 60_304, 11, 200, 10]] * 4)
    assert sizes["pixels", 1] < 2000 and sizes["trl_prompts", 4] < 2000
    assert 60_000 < sizes["trl_images", 4] < 65_000  # a group's photograph once


@pytest.mark.parametrize(("chat", "silent"), [("auto", 0.0), (True, 1.0)])
def test_messages_or_strings_can_be_said_by_the_function_or_the_config(chat, silent):
    names = own("trl_says", "trl_silent")
    with Pool(names, timeout_s=30.0, processes=1, chat=chat) as pool:
        scored = pool.submit(EXAMPLES[:1], REPLIES[:1]).result()
    assert scored.values.tolist() == [[1.0, silent]]


def test_submit_returns_before_the_rewards_are_computed():
    with Pool(own("hangs"), timeout_s=3.0, processes=1) as pool:
        began = time.monotonic()
        pool.submit(EXAMPLES, REPLIES)
        assert time.monotonic() - began < 1


def test_a_reward_that_fails_on_all_of_three_steps_stops_the_run():
    counter = FailureWatch(["x"])

    def count(*rows):
        failures = tuple(Failure("x", row, "raised", "oh") for row in rows)
        scored = RewardResult(np.zeros((3, 1)), failures)
        faults = failure_mask(scored, ["x"])
        assert faults[:, 0].tolist() == [row in rows for row in range(3)]
        counter.count(scored, faults.all(axis=0))

    for _ in range(2):
        count(0, 1, 2)
    count(0, 2)  # one sample was scored: the count begins anew
    for _ in range(2):
        count(0, 1, 2)
    with pytest.raises(ValueError, match=r"'x' failed on every sample of 3 steps \(raised 3; .*oh"):
        count(0, 1, 2)


@pytest.mark.parametrize(
    ("names", "weights", "timeout_s", "processes", "chat", "message"),
    [
        ((), None, 1.0, 1, "auto", "there are no rewards"),
        (("accuracy", "accuracy"), None, 1.0, 1, "auto", "named 2 times"),
        (("accuracy", "format"), (1.0,), 1.0, 1, "auto", r"1 reward_weights \(1.0,\) for 2 rew"),
        (("accuracy",), None, 0.0, 1, "auto", "reward_timeout is 0.0"),
        (("accuracy",), None, 1.0, 0, "auto", "reward_processes 0"),
        (("acuracy",), None, 1.0, 1, "auto", "did you mean 'accuracy'"),
        (("accuracy",), None, 1.0, 1, "yes", "grpo.chat is 'yes'; choose from auto, true, false"),
    ],
)
def test_rewards_that_cannot_be_computed_are_refused(
    names, weights, timeout_s, processes, chat, message
):
    with pytest.raises(ValueError, match=message):
        check_rewards(names, weights, timeout_s, processes, chat)
