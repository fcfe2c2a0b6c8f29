"""What stages give to tasks, and which configs they refuse."""

import itertools
import json
import pathlib

import jax
import pytest
from ml_collections import ConfigDict

from mmcot_jax import config, stages, tasks
from mmcot_jax import mesh as meshes
from mmcot_jax.ckpt import write_manifest
from mmcot_jax.evals import evaluate
from mmcot_jax.tasks import shapes

M2T = f"{pathlib.Path(__file__).parents[1]}/configs/m2t.py:tiny"


def test_an_evaluation_asks_its_sets_or_its_data():
    tiny = config.load(M2T)
    assert list(stages.eval_sets(tiny)) == ["shapes"]
    plain = ConfigDict({"data": {"task": "puzzlevqa"}, "eval": {"data": {"split": "test"}}})
    assert stages.eval_sets(plain)["puzzlevqa"].split == "test"
    for task, name in (("my/next_letter.py", "next_letter"), ("my/eval.py", "my/eval.py")):
        changed = config.load(M2T.replace("m2t", "m2m"), [f"data.task={task}"])
        assert list(stages.eval_sets(changed)) == [name]
    with changed.unlocked():
        changed.eval.sets = {"policy": {}}
    with pytest.raises(ValueError, match=r"eval.sets has 'policy', a name of another group of res"):
        stages.check(changed)
    assert stages.task_name(plain, plain.eval.data) == "puzzlevqa"


def test_a_task_that_does_not_exist_or_has_no_evaluation_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"data.task is 'shape'; there are: aokvqa, drivingvqa"):
        stages.check(config.load(M2T, ["data.task=shape"]))
    monkeypatch.setattr(shapes, "EVALUATOR", "boxed")
    with pytest.raises(ValueError, match=r"EVALUATOR of .*shapes.* is 'boxed'; there are: .*resq"):
        stages.check(config.load(M2T))


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        (["grpo.what=lora"], "grpo.what is 'lora'"),
        (["sft.what=lora", "grpo.what=lora"], "sft.what is 'lora'"),
        (["model.adapter=runs/x"], "model.adapter is 'runs/x'"),
    ],
)
def test_adapters_of_rank_0_are_refused_before_the_first_stage(changes, given):
    with pytest.raises(ValueError, match=f"^{given} and the model has no adapters: model.l"):
        stages.check(config.load(M2T, changes))
    stages.check(config.load(M2T, [*changes, "model.lora.rank=4", "model.lora.targets=q,v"]))


def orders(most):
    """All lists of up to `most` stages."""
    for count in range(most + 1):
        yield from itertools.product(("sft", "grpo", "eval"), repeat=count)


def test_every_order_of_stages_is_accepted_or_refused_in_one_line():
    made, accepted = config.load(M2T), []
    for order in orders(5):
        with made.unlocked():
            made.stages = order
        try:
            stages.check(made)
        except ValueError as error:
            assert str(error).startswith("stages ") and "\n" not in str(error)
        else:
            accepted.append(",".join(order))
    one = ["sft", "eval,sft", "sft,eval", "eval,sft,eval"]
    two = [
        f"{before}sft{between}grpo{after}"
        for before, between, after in itertools.product(
            ("", "eval,"), (",", ",eval,"), ("", ",eval")
        )
    ]
    swapped = [
        order.replace("sft", "x").replace("grpo", "sft").replace("x", "grpo") for order in one + two
    ]
    assert sorted(accepted) == sorted({*one, *two, *swapped})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", r"stages is \(\); give one name or more \(sft, grpo and eval, in order\)"),
        ("sft,sft", "stages has sft twice: a run trains each stage once; make sft longer, or"),
        ("grpo,sft,grpo", "stages has grpo twice"),
        ("sft,eval,eval", "stages has eval twice in a row: both would be the same; leave one"),
        ("sft,evaluate", "stages has 'evaluate'; there are: sft, grpo, eval"),
        ("eval", "stages only evaluates and model.weights is empty: the model would be random"),
    ],
)
def test_stages_that_cannot_run_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        stages.check(config.load(M2T, [f"stages={given}"]))


def test_weights_are_evaluated_without_training():
    stages.check(config.load(M2T, ["stages=eval", "model.weights=FOLDER"]))


def saved(workdir, stage, step, **data):
    """A checkpoint as far as `Checkpoints` writes it beside the arrays."""
    folder = workdir / "checkpoints" / stage / str(step)
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "metadata").write_text(json.dumps({"step": step, **data}))
    write_manifest(folder, step)


@pytest.fixture
def reads(monkeypatch):
    """The stages whose data was read."""
    names = []
    for name in stages.DATA:
        monkeypatch.setitem(stages.DATA, name, lambda run, name=name: names.append(name) or name)
    return names


@pytest.mark.parametrize(
    ("overrides", "step", "read"),
    [
        (["grpo.max_steps=6"], 4, ["grpo"]),
        (["grpo.max_steps=6"], 6, []),
        (["grpo.max_steps=8"], 6, ["grpo"]),  # longer than it was
        # as many epochs as it had: the steps of one are read from the checkpoint
        (["grpo.max_steps=0", "grpo.num_train_epochs=2.0"], 6, []),
        (["grpo.max_steps=0", "grpo.num_train_epochs=3.0"], 6, ["grpo"]),
    ],
)
def test_data_is_read_before_the_first_stage_unless_its_stage_is_finished(
    tmp_path, reads, overrides, step, read
):
    saved(tmp_path, "grpo", step, epoch_steps=3, total_steps=6)
    stages.Run(config.load(M2T, ["stages=sft,grpo", "eval.batch_size=8", *overrides]), tmp_path)
    assert reads == read


def test_data_of_a_damaged_checkpoint_is_read(tmp_path, reads):
    saved(tmp_path, "grpo", 4, epoch_steps=3, total_steps=6)
    saved(tmp_path, "grpo", 6, epoch_steps=3, total_steps=6)
    (tmp_path / "checkpoints/grpo/6/data/metadata").write_text("")
    longer = ["stages=sft,grpo", "grpo.max_steps=6", "eval.batch_size=8"]
    stages.Run(config.load(M2T, longer), tmp_path)
    assert reads == ["grpo"]


def test_a_prompt_without_room_for_its_completion_is_refused_before_the_first_stage(tmp_path):
    few = ["data.grpo.count=8", "eval.batch_size=8"]
    short = ["stages=sft,grpo", "grpo.max_completion_length=250"]
    with pytest.raises(ValueError, match=r"record .* has a prompt of \d+ tokens; .* leaves 6"):
        stages.Run(config.load(M2T, [*few, *short]), tmp_path)
    short = ["stages=sft,eval", "eval.max_completion_length=250"]
    with pytest.raises(ValueError, match=r"less eval.max_completion_length 250 leaves 6"):
        stages.Run(config.load(M2T, [*few, *short]), tmp_path)


def test_what_grpo_evaluates_with_is_checked_before_the_first_stage():
    assessed = ["stages=sft,grpo", "grpo.eval_steps=1"]
    with pytest.raises(
        ValueError, match=r"eval.max_completion_length is 256 and model.context 256"
    ):
        stages.check(config.load(M2T, [*assessed, "eval.max_completion_length=256"]))
    mesh = meshes.make(fsdp=8, data=1)
    odd = ["sft.batch_size=8", "grpo.prompts_per_step=8", "eval.batch_size=63"]
    stages.check_batches(
        config.load(M2T, ["stages=sft,grpo", "grpo.eval_steps=0", *odd]), mesh, mesh
    )
    with pytest.raises(ValueError, match=r"eval.batch_size is 63, no multiple of"):
        stages.check_batches(config.load(M2T, [*assessed, *odd]), mesh, mesh)


def test_pictures_that_become_ids_at_a_time_are_shared_evenly(tmp_path):
    m2m = M2T.replace("m2t.py:tiny", "m2m.py:tiny")
    odd = ["stages=sft", "sft.batch_size=8", "data.tokenize_batch=12", "data.train.count=2"]
    with pytest.raises(ValueError, match=r"data.tokenize_batch is 12, no multiple of 1 .* x 8"):
        stages.Run(config.load(m2m, odd), tmp_path)
    stages.Run(config.load(M2T, odd), tmp_path)  # its pictures become no ids


def test_a_mesh_that_does_not_fit_is_named_and_none_samples_on_the_mesh_of_training():
    m2m = M2T.replace("m2t.py:tiny", "m2m.py")
    with pytest.raises(ValueError, match=r"^rollout_mesh data=-1 fsdp=1 tensor=4 does not fit 1 d"):
        stages.make_meshes(config.load(m2m), jax.devices()[:1])
    train, rollout = stages.make_meshes(config.load(m2m, ["rollout_mesh=None"]), jax.devices()[:1])
    assert train is rollout
    with pytest.raises(ValueError, match="config key 'mesh' is a group"):
        config.load(m2m, ["mesh=None"])


def test_an_only_update_that_a_warm_up_voids_is_refused_before_the_first_stage(tmp_path):
    one = ["stages=sft,grpo", "grpo.lr_scheduler_type=linear", "grpo.warmup_steps=0.1"]
    with pytest.raises(ValueError, match=r"only update would change nothing: grpo.warmup_steps is"):
        stages.check(config.load(M2T, [*one, "grpo.max_steps=1"]))
    few = ["data.grpo.count=8", "grpo.prompts_per_step=8", "grpo.num_train_epochs=1"]
    few += ["eval.batch_size=8"]
    made = config.load(M2T, [*one, *few, "grpo.max_steps=-1"])
    with pytest.raises(ValueError, match=r"only update would change nothing: warmup_steps is 0.1"):
        stages.Run(made, tmp_path)


def test_a_group_of_data_that_no_stage_needs_may_be_none():
    made = config.load(M2T, ["stages=sft,eval"])
    with made.unlocked():
        del made.data["grpo"]
        made.data.grpo = None
    stages.check(made)


@pytest.mark.parametrize(
    ("preset", "changes", "refusal"),
    [
        ("m2t.py:tiny", [], "this model draws no pictures: set it to False, or take"),
        ("t2m.py:tiny-text", [], "this model draws no pictures: set it to False, or take"),
        ("m2m.py:tiny", ["model.draws=false"], "this model draws no pictures"),
        ("t2m.py:tiny", ["data.train.chain=textual"], "data.train.chain is 'textual': these"),
    ],
)
def test_pictures_of_a_model_that_draws_none_are_not_exchanged(tmp_path, preset, changes, refusal):
    path = M2T.replace("m2t.py:tiny", preset)
    made = config.load(path, ["eval.picture_ablation=true", *changes])
    with pytest.raises(ValueError, match=f"^eval.picture_ablation is True and {refusal}"):
        stages.Run(made, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("group", ["grpo", "eval"])
def test_pictures_of_a_model_that_draws_none_have_no_temperature(tmp_path, group):
    made = config.load(M2T, [f"{group}.image_temperature=0.5", "eval.batch_size=48"])
    said = f"^{group}.image_temperature is 0.5, and this model writes text only; set it to None$"
    with pytest.raises(ValueError, match=said):
        stages.Run(made, tmp_path)


def test_results_of_another_checkpoint_are_measured_again(tmp_path):
    policy = {"stage": "sft", "step": 6, "checkpoint": "last", "what": "all"}
    assert not evaluate.is_done(tmp_path, "_sft", policy)
    (tmp_path / "results_sft.json").write_text(json.dumps({"policy": policy}))
    assert evaluate.is_done(tmp_path, "_sft", policy)
    assert not evaluate.is_done(tmp_path, "_sft", policy | {"step": 8})
    assert not evaluate.is_done(tmp_path, "_sft", policy, ["picture_ablation"])
    ablated = {"policy": policy, "picture_ablation": {}}
    (tmp_path / "results_sft.json").write_text(json.dumps(ablated))
    assert evaluate.is_done(tmp_path, "_sft", policy, ["picture_ablation"])
    assert evaluate.is_done(tmp_path, "_sft", policy)
    (tmp_path / "results_sft.json").write_text("")  # as a power cut leaves it
    assert not evaluate.is_done(tmp_path, "_sft", policy)


@pytest.mark.parametrize("group", ["grpo", "eval"])
def test_numbers_that_make_no_law_to_draw_by_are_refused_before_anything_is_read(group):
    with pytest.raises(ValueError, match=f"{group}.repetition_penalty is 0.0; give a number above"):
        stages.check(config.load(M2T, [f"{group}.repetition_penalty=0"]))


@pytest.mark.parametrize(
    ("task", "message"), [("nlvr", "no records: .*nowhere"), ("resq", "no records: .*nowhere")]
)
def test_bad_data_of_a_first_stage_is_found_before_its_weights(tmp_path, task, message):
    made = config.load(M2T, ["stages=sft", "model.weights=no-such-weights"])
    with made.unlocked():
        made.data.train = {"task": task, "source": str(tmp_path / "nowhere")}
    with pytest.raises(ValueError, match=message):
        stages.Run(made, tmp_path)


def test_an_evaluation_of_a_task_that_keeps_nothing_from_training_is_refused():
    name = f"{pathlib.Path(__file__).parents[1]}/configs/m2t.py:3b-viscot"
    made = config.load(name, ["grpo.eval_count=5"])
    stages.check(made)
    with made.unlocked():
        del made.data.grpo["validation_count"]  # 0, by the task's own default
    with pytest.raises(ValueError, match=r"eval_count is 5 and .*validation_count 0: the other 5"):
        stages.check(made)


def test_an_evaluation_larger_than_what_is_kept_from_training_is_refused():
    name = f"{pathlib.Path(__file__).parents[1]}/configs/m2m.py:tiny"
    stages.check(config.load(name, ["grpo.eval_steps=1", "grpo.eval_count=20"]))
    with pytest.raises(ValueError, match=r"eval_count is 21 and .*validation_count 20: the other"):
        stages.check(config.load(name, ["grpo.eval_steps=1", "grpo.eval_count=21"]))
    stages.check(config.load(name, ["grpo.eval_steps=0", "grpo.eval_count=21"]))


def test_sft_on_questions_without_chains_is_refused_before_the_first_stage(tmp_path):
    preset = M2T.replace("m2t.py:tiny", "t2m.py:tiny-text")
    with pytest.raises(ValueError, match=r"data.train has nothing to learn: record .* no chain"):
        stages.Run(config.load(preset, ["data.train.chain=none", "eval.batch_size=8"]), tmp_path)


def test_what_only_grpo_trains_on_is_seen_too():
    data = ConfigDict({"task": "maze", "train": {"sizes": (4,)}, "grpo": {"sizes": (5,)}})
    assert [dict(x) for x in tasks.training_sets(data, "maze")] == [
        {"sizes": (4,)},
        {"sizes": (5,)},
    ]
    data.grpo.task = "frozenlake"
    assert [dict(x) for x in tasks.training_sets(data, "maze")] == [{"sizes": (4,)}]
    assert tasks.training_sets(data, "resq") == []
    del data["train"], data["grpo"]
    assert tasks.training_sets(data, "maze") == []
