"""What may change between two starts of a run, and where that is written down."""

import json

import pytest
from ml_collections import ConfigDict

from mmcot_jax import config, resume


def made(**changes) -> ConfigDict:
    c = ConfigDict(
        {
            "seed": 42,
            "stages": ("sft", "eval", "grpo", "eval"),
            "sft": {"max_steps": 0, "num_train_epochs": 2.0, "learning_rate": 0.1},
            "grpo": {
                "max_steps": 4,
                "num_train_epochs": 1.0,
                "logging_steps": 1,
                "save_total_limit": 2,
                "num_completions_to_print": 0,
                "reward_timeout": 30.0,
                "reward_processes": 2,
                "gradient_accumulation_steps": 1,
                "reward_weights": (1.0, 0.5),
            },
            "data": {"train": {"processes": 2, "count": 30}},
            "rollout_mesh": None,
        }
    )
    c.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return c


def start(workdir, **changes) -> dict:
    """A start of a run, which logs a step; returns its config.json."""
    c = made(**changes)
    resume.write(workdir, c, resume.check(workdir, c))
    (workdir / "metrics.jsonl").touch()
    return json.loads((workdir / "config.json").read_text())


def saved(workdir, stage, step) -> None:
    (workdir / "checkpoints" / stage / str(step)).mkdir(parents=True)


def test_the_first_start_writes_the_config_and_the_same_again_leaves_it(tmp_path):
    first = start(tmp_path / "runs/a")
    assert first["sft"] == {"max_steps": 0, "num_train_epochs": 2.0, "learning_rate": 0.1}
    assert resume.check(tmp_path / "runs/a", made()).changed == {}
    assert start(tmp_path / "runs/a") == first and "changes" not in first
    assert sorted(p.name for p in (tmp_path / "runs/a").iterdir()) == [
        "config.json",
        "metrics.jsonl",
    ]


def test_a_run_of_the_same_config_is_finished_and_one_of_a_changed_config_is_not(tmp_path):
    start(tmp_path)
    assert not resume.check(tmp_path, made()).finished
    (tmp_path / resume.FINISHED).touch()
    saved(tmp_path, "sft", 2)
    with pytest.raises(ValueError, match=r"a completed run without .*/checkpoints/grpo: bring it"):
        resume.check(tmp_path, made())
    saved(tmp_path, "grpo", 4)
    assert resume.check(tmp_path, made()).finished
    assert not resume.check(tmp_path, made(grpo__logging_steps=2)).finished


def test_the_command_is_recorded_and_may_be_written_in_another_way(tmp_path):
    for command, changes, recorded in (
        ("python -m mmcot_jax.main --config a.py", {}, "python -m mmcot_jax.main --config a.py"),
        ("python -m mmcot_jax.main --config ./a.py", {}, "python -m mmcot_jax.main --config a.py"),
        ("new", {"grpo__max_steps": 5}, "new"),
        ("", {"grpo__max_steps": 6}, None),  # a caller from Python has none
    ):
        c = made(**changes)
        resume.write(tmp_path, c, resume.check(tmp_path, c), command)
        (tmp_path / "metrics.jsonl").touch()
        assert json.loads((tmp_path / "config.json").read_text()).get("command") == recorded


def test_a_refusal_names_some_of_many_differences(tmp_path):
    start(tmp_path)
    other = made(seed=1)
    other.data = {str(number): number for number in range(20)}
    with pytest.raises(
        ValueError, match=r"data.0 is 0 here and missing there; .*; and 14 more: give"
    ):
        resume.check(tmp_path, other)


def test_an_option_that_is_newer_than_the_run_is_no_difference_while_it_is_off(tmp_path):
    newer = {"min_p": 0.0, "image_temperature": None, "process_reward_funcs": ()}
    assert not newer.keys() & start(tmp_path)["grpo"].keys()
    off = {f"grpo__{name}": value for name, value in newer.items()}
    assert resume.check(tmp_path, made(**off)).changed == {}
    with pytest.raises(ValueError, match=r"grpo.min_p is 0.1 here and missing there"):
        resume.check(tmp_path, made(grpo__min_p=0.1))
    with pytest.raises(ValueError, match=r"data.train.guesses is 0.0 here and missing there"):
        resume.check(tmp_path, made(data__train__guesses=0.0))  # an optional one


def test_a_run_that_took_no_step_may_become_another(tmp_path):
    start(tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    assert start(tmp_path, seed=1)["seed"] == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("grpo.max_steps", 8),
        ("grpo.logging_steps", 5),
        ("grpo.save_total_limit", 1),
        ("grpo.num_completions_to_print", 3),
        ("grpo.reward_timeout", 5.0),
        ("grpo.reward_processes", 4),
        ("grpo.gradient_accumulation_steps", 2),
        ("data.train.processes", 0),
    ],
)
def test_what_changes_no_result_is_taken_anew_and_recorded_with_its_step(tmp_path, key, value):
    start(tmp_path)
    saved(tmp_path, "sft", 90)
    saved(tmp_path, "grpo", 3)
    found = start(tmp_path, **{key: value})
    assert config.flat(found)[key] == value
    (change,) = found["changes"]
    assert (change["key"], change["to"]) == (key, value)
    assert change["from"] == config.flat(made())[key]
    assert change["at"] == {"stage": "grpo", "step": 3} and change["time"].startswith("20")


def test_going_back_and_forth_is_recorded_each_time(tmp_path):
    start(tmp_path)
    for value in (5, 1, 5):
        found = start(tmp_path, grpo__logging_steps=value)
    assert [(x["from"], x["to"]) for x in found["changes"]] == [(1, 5), (5, 1), (1, 5)]
    assert found["changes"][0]["at"] == {"stage": "sft", "step": 0}
    assert len(start(tmp_path, grpo__logging_steps=5)["changes"]) == 3


def test_a_group_in_place_of_none_is_recorded_by_its_keys(tmp_path):
    start(tmp_path)
    found = start(tmp_path, rollout_mesh={"data": -1, "tensor": 2})
    changes = {x["key"]: (x["from"], x["to"]) for x in found["changes"]}
    assert changes["rollout_mesh.tensor"] == (None, 2)


@pytest.mark.parametrize(
    ("key", "value"),
    [("sft.learning_rate", 0.2), ("data.train.count", 31), ("seed", 1), ("stages", ("sft",))],
)
def test_what_changes_results_is_refused_and_nothing_is_written(tmp_path, key, value):
    before = start(tmp_path)
    message = f"another config: {key} is .* here and .* there: give another --workdir"
    with pytest.raises(ValueError, match=message) as refusal:
        resume.check(tmp_path, made(**{key: value, "grpo.logging_steps": 9}))
    assert "logging_steps" not in str(refusal.value)
    assert json.loads((tmp_path / "config.json").read_text()) == before


def test_when_to_evaluate_may_change_unless_it_decides_which_step_is_the_best(tmp_path):
    for best in (False, True):
        evaluated = {"grpo__eval_count": 20, "grpo__load_best_model_at_end": best}
        start(tmp_path / f"{best}", **evaluated)
        if not best:
            assert start(tmp_path / f"{best}", **evaluated | {"grpo__eval_count": 8})["changes"]
            continue
        with pytest.raises(ValueError, match=r"grpo\.eval_count is 8 here and 20 there"):
            start(tmp_path / f"{best}", **evaluated | {"grpo__eval_count": 8})


def test_a_stage_that_another_continued_from_keeps_its_length(tmp_path):
    start(tmp_path)
    saved(tmp_path, "sft", 90)
    assert start(tmp_path, sft__num_train_epochs=3.0)["sft"]["num_train_epochs"] == 3.0
    saved(tmp_path, "grpo", 1)
    message = "sft.max_steps is 200, which changes the length of sft, but grpo has begun from its"
    with pytest.raises(ValueError, match=message):
        start(tmp_path, sft__max_steps=200, sft__num_train_epochs=3.0)
    # grpo.max_steps decides: its epochs do not
    start(tmp_path, sft__num_train_epochs=3.0, grpo__num_train_epochs=9.0, grpo__max_steps=9)


def test_a_stage_cannot_become_shorter_than_it_is(tmp_path):
    start(tmp_path)
    saved(tmp_path, "grpo", 3)
    with pytest.raises(ValueError, match=r"grpo.max_steps is 2, but .* has 3 steps of grpo: give"):
        start(tmp_path, grpo__max_steps=2)
    start(tmp_path, grpo__max_steps=3)


def test_a_stage_cannot_become_shorter_than_it_is_by_its_epochs(tmp_path):
    start(tmp_path, grpo__max_steps=-1, grpo__num_train_epochs=2.0)
    saved(tmp_path, "grpo", 8)
    (tmp_path / "checkpoints/grpo/8/data").mkdir()
    (tmp_path / "checkpoints/grpo/8/data/metadata").write_text('{"step": 8, "epoch_steps": 5}')
    shorter = (
        r"grpo.num_train_epochs is 1.0, of 5 steps each, but .* has 8 steps of grpo: give 1.6 or"
    )
    with pytest.raises(ValueError, match=shorter):
        start(tmp_path, grpo__max_steps=-1, grpo__num_train_epochs=1.0)
    start(tmp_path, grpo__max_steps=-1, grpo__num_train_epochs=1.6)
    (tmp_path / "checkpoints/grpo/8/data/metadata").write_text("")
    start(tmp_path, grpo__max_steps=-1, grpo__num_train_epochs=1.0)


def test_an_evaluation_of_a_stage_that_goes_on_is_made_again(tmp_path):
    start(tmp_path)
    (tmp_path / "results_sft.json").touch()
    start(tmp_path, grpo__max_steps=8)
    assert (tmp_path / "results_sft.json").exists()
    start(tmp_path, grpo__max_steps=8, sft__max_steps=8)
    assert not (tmp_path / "results_sft.json").exists()


@pytest.mark.parametrize("text", ["{", "[]", "", "null", '"x"', "5"])
def test_a_broken_config_json_is_named(tmp_path, text):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config.json is no config .*: remove it or the workdir"):
        resume.check(tmp_path, made())
