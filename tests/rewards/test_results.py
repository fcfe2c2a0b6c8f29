"""Results of several batches as one."""

import numpy as np

from mmcot_jax.rewards.results import Failure, RewardResult, concatenate


def test_rows_failures_and_columns_of_a_second_batch_follow_those_of_the_first():
    first = RewardResult(
        np.array([[1.0], [0.0]]), (), {"f": 1.0}, {"f": {"depth": 2.0}}, {"f": {"words": [3, 4]}}
    )
    second = RewardResult(
        np.array([[np.nan], [1.0]]), (Failure("f", 0, "raised", "no"),), {"f": 0.5},
        {"f": {"depth": 4.0, "width": 1.0}}, {"f": {"seen": [5, 6]}}, {"f": [None, [(0, 1, 1.0)]]},
    )  # fmt: skip
    both = concatenate([first, second])
    np.testing.assert_array_equal(both.values, [[1], [0], [np.nan], [1]])
    assert both.failures == (Failure("f", 2, "raised", "no"),)
    assert both.times == {"f": 1.5}
    assert both.logged == {"f": {"depth": 3.0, "width": 1.0}}
    assert both.parts == {"f": [None, None, None, [(0, 1, 1.0)]]}
    assert both.extra == {"f": {"words": [3, 4, None, None], "seen": [None, None, 5, 6]}}
