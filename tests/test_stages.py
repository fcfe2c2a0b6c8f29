"""What stages give to tasks, and which configs they refuse."""

import itertools
import json
import pathlib
from types import ModuleType, SimpleNamespace

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from mmcot_jax import config, stages, store, tasks
from mmcot_jax import mesh as meshes
from mmcot_jax.boxes import Sight
from mmcot_jax.ckpt import write_manifest
from mmcot_jax.evals import evaluate
from mmcot_jax.example import Example, Row
from mmcot_jax.tasks import shapes

M2T = f"{pathlib.Path(__file__).parents[1]}/configs/m2t.py:tiny"
SIGHT = Sight(64, 4096, 8)


def run_of(*overrides, sight=SIGHT):
    """A run that can only load examples."""
    made = stages.Run.__new__(stages.Run)
    made.c = config.load(M2T, overrides)
    made.backbone = SimpleNamespace(renderer=SimpleNamespace(sight=sight))
    return made


def test_a_task_is_told_how_large_the_model_sees_a_picture():
    made = run_of("data.train.count=2", "data.train.kinds=color")
    task, options = made.resolve_task(made.c.data.train)
    assert task.__name__ == "mmcot_jax.tasks.shapes"
    assert options == {
        "kinds": ("color",),
        "size": 48,
        "form": "open",
        "boxes": True,
        "split": "train",
        "count": 2,
        "seed": 0,
        "guesses": 0.0,
        "sight": SIGHT,
    }
    assert len(made.load(made.c.data.train)) == 2
    assert len(made.load(made.c.data.train, split="validation", count=3)) == 3
    assert "sight" not in run_of(sight=None).resolve_task(made.c.data.train)[1]


def test_a_group_may_name_its_task_and_shares_what_is_done_with_bad_records():
    made = run_of("data.on_bad_record=skip", "data.max_bad=0.0")
    group = {"task": "nlvr", "source": "nowhere"}
    task, options = made.resolve_task(group)
    assert task.__name__ == "mmcot_jax.tasks.nlvr"
    assert options == {
        "source": "nowhere",
        "sight": SIGHT,
        "on_bad_record": "skip",
        "max_bad": 0.0,
        "max_image_pixels": 2**26,
    }


def test_an_option_that_the_task_does_not_have_is_refused_with_those_it_has():
    with pytest.raises(ValueError, match="task 'shapes' has no option source; it has boxes, count"):
        run_of().resolve_task({"source": "data"})


def test_an_option_that_only_one_of_load_and_stream_takes_is_refused(monkeypatch):
    own = ModuleType("own")
    own.LAZY_IMAGES = False
    own.load, own.stream = lambda count, seed=0: [], lambda count: iter(())
    monkeypatch.setattr(tasks, "get", lambda name: own)
    assert tasks.resolve("own.py", {"count": 1}, {"sight": SIGHT}) == (own, {"count": 1})
    with pytest.raises(ValueError, match=r"stream of task 'own.py' does not take seed; let its"):
        tasks.resolve("own.py", {"count": 1, "seed": 1}, {})
    own.LAZY_IMAGES = True  # its stream is not called
    assert tasks.resolve("own.py", {"count": 1, "seed": 1}, {})[1] == {"count": 1, "seed": 1}
    own.stream, own.LAZY_IMAGES = lambda **options: iter(()), False
    assert tasks.resolve("own.py", {"count": 1, "seed": 1}, {})[1] == {"count": 1, "seed": 1}
    with pytest.raises(ValueError, match=r"task 'own.py' has no option split; it has count, seed"):
        tasks.resolve("own.py", {"count": 1, "split": "test"}, {})


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (
            Example("q", "USER: 2 + 2?", "4"),
            r"'q' has the text 'USER: 2 .* as its prompt; give a tu",
        ),
        (Example("q", ("?",), "4", "four"), r"as its rationale; give a tuple, \('four',\)"),
        (Example("q", ("?",), "a", extra={"options": "abc"}), "'abc' as its options"),
        (Example("q", ("?",), "y", extra={"possible_answers": "yes"}), "as its possible_answers"),
        (Example("q", ("?",), 4), "has the answer 4, of type int; give a text"),
    ],
)
def test_an_example_of_wrong_types_is_refused_when_it_is_loaded(monkeypatch, example, message):
    monkeypatch.setattr(tasks.get("shapes"), "load", lambda **options: [example])
    with pytest.raises(ValueError, match=message):
        run_of().load({"count": 1, "kinds": ("count",)})


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


def nlvr(folder, count=3):
    """A folder of so many records of NLVR, their pictures black."""
    item = {"x_loc": 40, "y_loc": 80, "size": 20, "type": "square", "color": "Black"}
    (folder / "images").mkdir()
    lines = []
    for number in range(count):
        Image.new("RGB", (400, 100)).save(folder / f"images/{number}.png")
        record = {
            "sentence": "There is a tower.",
            "label": "true",
            "identifier": str(number),
            "structured_rep": [[item], [], []],
            "image": f"images/{number}.png",
        }
        lines.append(json.dumps(record) + "\n")
    (folder / "dev.jsonl").write_text("".join(lines))


def test_photographs_are_read_when_their_row_is_used(tmp_path):
    nlvr(tmp_path)
    made = run_of()
    with made.c.unlocked():
        made.c.data.train = {"task": "nlvr", "source": str(tmp_path)}
    read = []

    def supervise(example):
        read.append(example.id)
        tokens = np.arange(len(read) + 5, dtype=np.int32)
        return Row(example.id, tokens, tokens[None], tokens > 2)

    made.backbone = SimpleNamespace(
        renderer=SimpleNamespace(supervise=supervise, sight=SIGHT), context=20
    )
    source = made.train_rows()
    assert len(source) == 3 and sorted(set(read)) == ["nlvr/0", "nlvr/1", "nlvr/2"]
    (tmp_path / "images/1.png").unlink()
    assert source[0].id == "nlvr/0"
    with pytest.raises(ValueError, match=r"'nlvr/1' of .*jsonl:2 has no picture"):
        source[1]
    made.backbone.context = 5
    Image.new("RGB", (400, 100)).save(tmp_path / "images/1.png")
    with pytest.raises(ValueError, match="tokens long and the model's context is 5"):
        made.train_rows()


def lengthened(folder, *overrides):
    """A run of five records of NLVR whose rows have 10 to 14 tokens."""
    nlvr(folder, 5)
    made = run_of("data.on_bad_record=skip", *overrides)
    with made.c.unlocked():
        made.c.data.train = {"task": "nlvr", "source": str(folder)}
        made.c.data.grpo = dict(made.c.data.train)

    def render(example):
        tokens = np.arange(10 + int(example.id[-1]), dtype=np.int32)
        return Row(example.id, tokens, tokens[None], tokens > 2)

    renderer = SimpleNamespace(supervise=render, prompt=render, sight=SIGHT)
    made.backbone = SimpleNamespace(renderer=renderer, context=12, image_outputs=())
    return made


def test_rows_that_are_too_long_are_left_out_and_counted(tmp_path, caplog):
    made = lengthened(tmp_path, "data.max_bad=0.4", "grpo.eval_steps=0")
    assert [row.id for row in made.train_rows()] == ["nlvr/0", "nlvr/1", "nlvr/2"]
    assert [row.id for row in made._supervised_rows()] == ["nlvr/0", "nlvr/1", "nlvr/2"]
    said = "2 of 5 records are too long and left out; the first: record 'nlvr/3' is 13 tokens"
    assert [said in line for line in caplog.messages] == [True, True]
    made.backbone.context, made.c.grpo.max_completion_length = 20, 8
    made.c.grpo.prompts_per_step = 3
    rows = made.grpo_questions().rows
    assert [rows[i].id for i in range(len(rows))] == ["nlvr/0", "nlvr/1", "nlvr/2"]
    assert rows.question(2).example.id == "nlvr/2"
    assert "record 'nlvr/3' has a prompt of 13 tokens" in caplog.messages[-1]


def test_more_rows_that_are_too_long_than_may_be_left_out_stop_the_run(tmp_path):
    made = lengthened(tmp_path, "data.max_bad=0.3")
    said = r"2 of 5 records are too long, more than the share data.max_bad=0.3; the first: record"
    with pytest.raises(ValueError, match=said):
        made.train_rows()
    with pytest.raises(ValueError, match=said):
        list(made._supervised_rows())
    made.c.data.max_bad, made.backbone.context = 1.0, 5
    with pytest.raises(ValueError, match="5 of 5 records are too long"):
        made.train_rows()


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


def test_a_store_of_another_task_with_the_same_options_is_refused(tmp_path):
    drawn, saved = config.load(M2T), config.load(M2T, ["data.task=nlvr"])
    tokens = np.arange(4, dtype=np.int32)
    rows = [Row("a", tokens, tokens[None], tokens > 2)]
    store.write(tmp_path, rows, shards=1, fingerprint=stages.fingerprint(drawn))
    assert len(store.open(tmp_path, stages.fingerprint(drawn))) == 1
    with pytest.raises(ValueError, match=r"another kind: task is shapes there and nlvr here$"):
        store.open(tmp_path, stages.fingerprint(saved))


def test_a_task_is_the_same_named_by_the_group_or_by_all_of_the_data():
    by_all, by_group = config.load(M2T), config.load(M2T, ["data.task=nlvr"])
    with by_group.unlocked():
        by_group.data.train.task = "shapes"
    assert stages.fingerprint(by_group) == stages.fingerprint(by_all)


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
    run = stages.Run.__new__(stages.Run)
    planning = M2T.replace("m2t.py:tiny", "m2m.py:planning")
    run.c = config.load(planning, ["data.train.sizes=(3,)", "data.grpo.sizes=(3,5)"])
    ((_, _, options),) = run._eval_options()
    assert options["trained"] == (3, 5)
