"""What rewards log stays beside what the trainer says."""

from mmcot_jax.train.step_log import mean, user_columns, user_metrics


def test_a_metric_of_a_reward_cannot_replace_one_of_the_trainer():
    logged = {
        "f": {"step": 5.0, "loss": 77.0, "reward": 1000.0, "rewards/f/mean": 1.0, "depth": 3.0},
        "g": {"depth": 5.0, "eval_accuracy": 1.0, "kl": 0.5, "stage": 1.0},
    }
    found = user_metrics(logged, {"loss": 1.0, "reward": 2.0})
    assert mean([{name: value} for name, value in found]) == {
        "f/step": 5.0,
        "f/loss": 77.0,
        "f/reward": 1000.0,
        "f/rewards/f/mean": 1.0,
        "depth": 4.0,  # as TRL: the mean of all that is logged under a name
        "g/eval_accuracy": 1.0,
        "g/kl": 0.5,
        "g/stage": 1.0,
    }


def test_a_column_of_a_reward_cannot_replace_another():
    extra = {"f": {"answer": [1], "advantage": ["word"], "seen": [2]}, "g": {"seen": [3], "f": [4]}}
    assert user_columns(extra, ("answer", "advantage", "f")) == {
        "f/answer": [1],
        "f/advantage": ["word"],
        "seen": [2],
        "g/seen": [3],
        "g/f": [4],
    }
