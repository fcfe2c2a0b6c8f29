"""What stages give to tasks, and which configs they refuse."""

import pathlib
from types import SimpleNamespace

import pytest
from ml_collections import ConfigDict

from mmcot_jax import config, stages
from mmcot_jax.boxes import Sight

M2T = f"{pathlib.Path(__file__).parents[1]}/configs/m2t.py:tiny"
SIGHT = Sight(64, 4096, 8)


def job(*overrides, sight=SIGHT):
    """A job of which only the tasks are there."""
    made = stages.Job.__new__(stages.Job)
    made.c = config.load(M2T, overrides)
    made.backbone = SimpleNamespace(renderer=SimpleNamespace(sight=sight))
    return made


def test_a_task_is_told_how_large_the_model_sees_a_picture():
    made = job("data.train.count=2", "data.train.kinds=color")
    task, options = made.take(made.c.data.train)
    assert task.__name__ == "mmcot_jax.tasks.shapes"
    assert options == {
        "kinds": ("color",),
        "size": 64,
        "form": "options",
        "boxes": True,
        "split": "train",
        "count": 2,
        "seed": 0,
        "sight": SIGHT,
    }
    assert len(made.load(made.c.data.train)) == 2
    assert len(made.load(made.c.data.train, split="validation", count=3)) == 3
    assert "sight" not in job(sight=None).take(made.c.data.train)[1]


def test_a_group_may_name_its_task_and_shares_what_is_done_with_bad_records():
    made = job("data.on_bad_record=skip")
    group = {"task": "nlvr", "source": "nowhere"}
    task, options = made.take(group)
    assert task.__name__ == "mmcot_jax.tasks.nlvr"
    assert options == {"source": "nowhere", "sight": SIGHT, "on_bad_record": "skip"}


def test_an_option_that_the_task_does_not_have_is_refused_with_those_it_has():
    with pytest.raises(ValueError, match="task 'shapes' has no option source; it has boxes, count"):
        job().take({"source": "data"})


def test_an_evaluation_asks_its_sets_or_its_data():
    tiny = config.load(M2T)
    assert list(stages.asked(tiny)) == ["shapes"]
    plain = ConfigDict({"data": {"task": "puzzlevqa"}, "eval": {"data": {"split": "test"}}})
    assert stages.asked(plain)["puzzlevqa"].split == "test"
    assert stages.task_of(plain, plain.eval.data) == "puzzlevqa"


def test_a_task_that_does_not_exist_or_has_no_evaluation_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"data.task is 'shape'; there are: aokvqa, drivingvqa"):
        stages.check(config.load(M2T, ["data.task=shape"]))
    monkeypatch.delitem(stages.EVALS, "shapes")
    with pytest.raises(ValueError, match="there is no evaluation of 'shapes'; there are"):
        stages.check(config.load(M2T))
