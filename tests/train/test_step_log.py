"""Files of a step, and names: what rewards log stays beside what the trainer says."""

import json

import numpy as np

from mmcot_jax import mesh as meshes
from mmcot_jax.boxes import Box, Space
from mmcot_jax.example import Example, Question, Reply, Row
from mmcot_jax.rewards.results import RewardResult
from mmcot_jax.rollout.generate import Generations
from mmcot_jax.train.step_log import StepLog, mean, user_columns, user_metrics


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


SPACE = Space("resized", 10, 20)


def saved(qwen, tmp_path, **extra) -> list[dict]:
    """The rows of a step with two replies to one question about a picture."""
    replies = [Reply(("<think>[1, 2, 3, 4 cat]</think>",)), Reply(("none",))]
    row = Row("q", np.zeros(1, np.int32), np.zeros((1, 1), np.int32), np.zeros(1, bool))
    example = Example("q", (np.zeros((20, 10, 3), np.uint8), "?"), "cat", extra=extra)
    one = np.ones(2, int)
    c = {"reward_funcs": ("accuracy",), "num_generations": 2, "num_completions_to_print": 0}
    log = StepLog("grpo", qwen.backbone, c, meshes.make(), tmp_path)
    generations = Generations(None, replies, [row.tokens] * 2, one, one > 0, one)
    result = RewardResult(np.array([[1.0], [0.0]]))
    log.save_completions(3, [Question(example, row)], generations, replies, result, one - 1.0)
    lines = (tmp_path / "completions/grpo_step_00003.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_completions_name_their_pictures_and_boxes(qwen, tmp_path):
    first, second = saved(qwen, tmp_path, space=SPACE, boxes=(Box("cat", 0, 0, 5, 5, SPACE),))
    assert first["prompt_pictures"] == second["prompt_pictures"]
    assert (tmp_path / "completions" / first["prompt_pictures"][0]).is_file()
    assert first["space"] == ["resized", 10, 20] and first["gold_boxes"] == [["cat", 0, 0, 5, 5]]
    assert (first["boxes"], second["boxes"]) == ([["cat", 1, 2, 3, 4]], [])


def test_a_user_task_may_call_anything_boxes(qwen, tmp_path):
    assert "boxes" not in saved(qwen, tmp_path, boxes=3)[0]
