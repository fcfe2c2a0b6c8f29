"""Rewards in processes: one that fails affects neither the others nor the run."""

import math
import pathlib
import pickle
import time

import numpy as np
import pytest

from mmcot_jax.example import Example, Picture, Reply
from mmcot_jax.rewards.pool import (
    Failure,
    FailureWatch,
    Pool,
    RewardResult,
    check_rewards,
    failure_mask,
)

FILE = pathlib.Path(__file__).parent / "some_rewards.py"
WORDS = ("a", "bh", "cc", "")
EXAMPLES = [Example(str(i), ("?",), "a") for i in range(len(WORDS))]
REPLIES = [Reply((word,)) for word in WORDS]


def score(*names: str, timeout_s: float = 30.0) -> RewardResult:
    with Pool([f"{FILE}:{n}" for n in names], timeout_s=timeout_s, processes=2) as pool:
        return pool.submit(EXAMPLES, REPLIES).result()


def test_values_are_in_the_order_of_rows_and_rewards():
    scored = score("length", "trl_length")
    np.testing.assert_array_equal(scored.values, [[0.1, 1], [0.2, 2], [0.2, 2], [0, 0]])
    assert scored.failures == ()
    assert scored.metrics[f"time/reward/{FILE}:length"] > 0


def test_pixels_are_sent_only_to_rewards_that_need_images(monkeypatch):
    photograph, shown = np.zeros((100, 200, 3), np.uint8), np.zeros((10, 10, 3), np.uint8)
    example = Example("q", (photograph, "?"), "a", ("A ", photograph), {"boxes": (1, 2, 3)})
    replies = [Reply((word, Picture(np.arange(4), shown))) for word in WORDS]
    names = [f"{FILE}:{name}" for name in ("pixels", "drawn", "trl_prompts")]
    sizes = {}

    class Weighed(Pool):
        def _schedule(self, name, rows, step):
            sizes[name] = len(pickle.dumps(rows))
            return super()._schedule(name, rows, step)

    with Weighed(names, timeout_s=30.0, processes=2) as pool:
        scored = pool.submit([example] * 4, replies).result()
    assert scored.failures == ()
    # 4 ids; the photograph, 4 ids, the picture; "<image>?" and three numbers
    np.testing.assert_array_equal(scored.values, [[4, 60_304, 11]] * 4)
    assert max(sizes[names[0]], sizes[names[2]]) < 2000
    assert 60_000 < sizes[names[1]] < 65_000  # a group's photograph once


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("raises", "raised", "RuntimeError: no such word"),
        ("dies", "died", "status 1"),
        ("says_nan", "nan", "it returned nan"),
        ("says_words", "type", "it returned a str, 'good'"),
    ],
)
def test_a_failed_sample_is_reported_with_its_row_and_has_no_value(name, kind, message):
    scored = score("length", name)
    assert [(f.row, f.kind) for f in scored.failures] == [(1, kind)]
    assert message in scored.failures[0].message
    np.testing.assert_array_equal(scored.values[:, 0], [0.1, 0.2, 0.2, 0.0])
    np.testing.assert_array_equal(scored.values[:, 1], [1.0, math.nan, 1.0, 1.0])


def test_a_reward_that_hangs_is_killed_and_other_rows_are_scored():
    began = time.monotonic()
    scored = score("hangs", timeout_s=2.0)
    assert time.monotonic() - began < 60
    assert [(f.row, f.kind) for f in scored.failures] == [(1, "timeout")]
    np.testing.assert_array_equal(scored.values[:, 0], [1.0, math.nan, 1.0, 1.0])


def test_submit_returns_before_the_rewards_are_computed():
    with Pool([f"{FILE}:hangs"], timeout_s=3.0, processes=1) as pool:
        began = time.monotonic()
        pool.submit(EXAMPLES, REPLIES)
        assert time.monotonic() - began < 1


def test_a_reward_that_fails_on_all_of_three_steps_stops_the_run():
    counter = FailureWatch(["x"])

    def count(*rows):
        failures = tuple(Failure("x", row, "raised", "oh") for row in rows)
        scored = RewardResult(np.zeros((3, 1)), failures, {}, {})
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
    ("names", "weights", "timeout_s", "processes", "message"),
    [
        ((), None, 1.0, 1, "there are no rewards"),
        (("accuracy", "accuracy"), None, 1.0, 1, "named 2 times"),
        (("accuracy", "format"), (1.0,), 1.0, 1, r"1 reward_weights \(1.0,\) for 2 reward_funcs"),
        (("accuracy",), None, 0.0, 1, "reward_timeout is 0.0"),
        (("accuracy",), None, 1.0, 0, "reward_processes 0"),
        (("acuracy",), None, 1.0, 1, "did you mean 'accuracy'"),
    ],
)
def test_rewards_that_cannot_be_computed_are_refused(names, weights, timeout_s, processes, message):
    with pytest.raises(ValueError, match=message):
        check_rewards(names, weights, timeout_s, processes)
