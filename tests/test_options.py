"""The description of the options, and the values that are refused before anything happens."""

import pytest

from mmcot_jax import options


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("sft.max_steps", True),
        ("grpo.gradient_accumulation_steps", True),
        ("mesh.fsdp", True),
        ("rollout_mesh", True),
        ("data.train.processes", True),
        ("eval.sets.aokvqa.progress", True),
        ("sft.learning_rate", False),
        ("grpo.what", False),
        ("eval.data.count", False),
        ("seed", False),
        ("no.such", False),
    ],
)
def test_what_may_change_between_two_starts_of_a_run(key, expected):
    assert options.may_change(key) is expected
