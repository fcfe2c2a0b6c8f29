"""What tasks have in common."""

import pytest

from mmcot_jax import tasks
from mmcot_jax.example import Example


def test_two_questions_of_an_evaluation_have_two_ids():
    examples = [Example(id, ("?",), "yes") for id in ("a", "b", "b", "c", "c")]
    with pytest.raises(ValueError, match="set 'own': 2 ids are those of several questions, such"):
        tasks.check_ids("own", examples)
    tasks.check_ids("own", examples[:2])
