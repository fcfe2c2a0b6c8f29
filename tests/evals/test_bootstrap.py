"""Intervals of means, beside values that are computed by hand."""

import numpy as np
import pytest

from mmcot_jax.evals.bootstrap import Bootstrap

HUNDRED = [str(n) for n in range(100)]


def interval(clusters, values, seed=0):
    return Bootstrap(list(clusters), seed).interval(np.array(values))


def test_equal_values_have_no_spread():
    assert interval("abc", [0.25] * 3) == {"mean": 0.25, "low": 0.25, "high": 0.25}


def test_two_clusters_are_drawn_as_two_coins():
    # means 0, 1/2, 1 with 1/4, 1/2, 1/4: more than 2.5 % are at either end
    assert interval("ab", [0, 1]) == {"mean": 0.5, "low": 0.0, "high": 1.0}


def test_the_interval_of_a_share_is_that_of_the_binomial():
    # 40 of 100: B(100, .4) has 2.5 % up to 30 and 2.7 % from 50 on
    found = interval(HUNDRED, [1] * 40 + [0] * 60)
    assert found["mean"] == 0.4
    assert 0.30 <= found["low"] <= 0.32 and 0.48 <= found["high"] <= 0.50


def test_answers_to_one_question_are_resampled_together():
    values = [0] * 50 + [1] * 50
    assert interval("a" * 50 + "b" * 50, values) == {"mean": 0.5, "low": 0.0, "high": 1.0}
    apart = interval(HUNDRED, values)
    assert 0.35 < apart["low"] < 0.45 and 0.55 < apart["high"] < 0.65


def test_a_large_cluster_counts_by_its_values():
    # a a b: the mean of both resamples of a, of both of b, of one each: 0, 1, 1/3
    found = interval("aab", [0, 0, 1])
    assert found == {"mean": pytest.approx(1 / 3), "low": 0.0, "high": 1.0}
    # a a b and 0 1 1: 1/2, 1, 2/3
    found = interval("aab", [0, 1, 1])
    assert found == {"mean": pytest.approx(2 / 3), "low": 0.5, "high": 1.0}


def test_the_same_resamples_pair_the_values():
    both, values = Bootstrap(HUNDRED, 3), np.linspace(0, 1, 100)
    assert both.interval(values - values) == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert both.interval(values) == both.interval(values) == interval(HUNDRED, values, 3)
    assert both.interval(values) != interval(HUNDRED, values, 4)


def test_no_value_is_refused():
    with pytest.raises(ValueError, match="no value to resample: give at least one"):
        Bootstrap([], 0)
