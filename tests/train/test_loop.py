"""The loop of the stages, on a step that adds one to a number."""

import json
import math
import shutil
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import optax
import pytest

from mmcot_jax import data
from mmcot_jax import mesh as meshes
from mmcot_jax.hosts import Preempted
from mmcot_jax.train import loop

C = {
    "num_train_epochs": 0.0, "warmup_steps": 0, "save_total_limit": 2, "save_steps": 2,
    "logging_steps": 2, "what": "all",
}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """Runs the loop in one folder: (the trained number, the batches it saw, metrics.jsonl)."""
    mesh = meshes.make(data=1, fsdp=-1)

    def go(
        loss=lambda number: float(number),
        metrics=(),
        total=5,
        preempted=None,
        trained=None,
        before_step=lambda: None,
        **changes,
    ):
        seen = []

        def step(state, number, batch):
            before_step()
            seen.append(batch)
            state = state._replace(
                step=state.step + 1, trained=jax.tree.map(lambda x: x + 1, state.trained)
            )
            found = {"loss": loss(number), "grad_norm": jnp.float32(1), "num_tokens": 3.0}
            return state, found | dict(metrics)

        evaluate, preflight = changes.pop("evaluate", None), changes.pop("preflight", None)
        start = changes.pop("start", loop.START)
        work = loop.Work(step, data.stream(list("abcdefgh"), 1, seed=3), total, evaluate, preflight)
        open_stage = changes.pop("open", lambda: nullcontext(work))
        stage = loop.Stage(
            "s", C | {"max_steps": total} | changes, optax.sgd(0.1), open_stage, start
        )
        trained = {"norm": {"scale": jnp.zeros(2)}} if trained is None else trained
        trained, snapshot = loop.run(
            stage, trained, mesh=mesh, workdir=tmp_path, preempted=preempted or (lambda: False)
        )
        assert snapshot.stage == "s" and snapshot.what == "all"
        go.snapshot = snapshot
        lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        return float(trained["norm"]["scale"][0]), [x for (x,) in seen], lines

    return go


def test_every_second_step_and_the_last_are_logged_with_the_speed_since_the_one_before(run):
    trained, seen, lines = run()
    assert trained == 5 and len(seen) == 5 and run.snapshot == ("s", 5, "last", "all")
    assert [line["step"] for line in lines] == [1, 3, 4]
    assert [line["loss"] for line in lines] == [1, 3, 4]
    assert all(line["tokens_per_second"] > 0 for line in lines)


def test_steps_of_0_log_and_save_the_last_step_only(run, tmp_path):
    _, _, lines = run(logging_steps=0, save_steps=0)
    assert [line["step"] for line in lines] == [4]
    assert [p.name for p in (tmp_path / "checkpoints/s").iterdir()] == ["5"]


@pytest.mark.parametrize("off", [None, 0])
def test_without_a_limit_all_checkpoints_are_kept(run, tmp_path, off):
    run(save_total_limit=off, save_steps=1)
    saved = sorted(p.name for p in (tmp_path / "checkpoints/s").iterdir())
    assert saved == ["1", "2", "3", "4", "5"]


def test_a_step_that_measures_its_own_time_gets_no_other_speed(run):
    _, _, lines = run(metrics={"step_time": 1.0})
    assert "tokens_per_second" not in lines[0]


def test_a_preempted_run_is_saved_and_resumes_with_the_next_batch(run, tmp_path):
    whole = data.stream(list("abcdefgh"), 1, seed=3)
    order = [next(whole)[0] for _ in range(5)]
    calls = []
    with pytest.raises(Preempted, match="s is saved after 3 of 5 steps"):
        run(preempted=lambda: calls.append(0) or len(calls) == 3)
    trained, seen, lines = run()
    assert trained == 5 and seen == order[3:]
    assert [line["step"] for line in lines] == [1, 3, 4]


def test_a_finished_stage_does_nothing_again(run):
    run()
    trained, seen, _ = run()
    assert (trained, seen) == (5, [])


def test_the_data_of_a_finished_stage_is_not_read(run, tmp_path):
    run()
    saved = loop.saved_data(tmp_path, "s")
    assert (saved["step"], saved["total_steps"], saved["epoch_steps"]) == (5, 5, 8)
    assert run(open=None)[0] == 5
    trained, seen, lines = run(total=7)  # longer: it goes on
    assert trained == 7 and len(seen) == 2
    assert [line["step"] for line in lines] == [1, 3, 4, 5, 6]


def test_a_checkpoint_names_its_weights_and_those_it_started_from(run, tmp_path):
    values = iter([0.9, 0.5, 0.1])
    run(
        eval_steps=2, metric_for_best_model="accuracy", save_steps=1,
        evaluate=lambda state: {"accuracy": next(values)},
        start=loop.Snapshot("r", 3, "best", "lora"),
    )  # fmt: skip
    start = {"stage": "r", "step": 3, "checkpoint": "best", "what": "lora"}
    for name, step, kind in (("s", 5, "last"), ("s_best", 2, "best")):
        found = loop.saved_data(tmp_path, name)
        wanted = {"stage": "s", "step": step, "checkpoint": kind, "what": "all", "start": start}
        assert wanted.items() <= found.items()


def test_checkpoints_of_a_stage_that_began_from_another_policy_are_refused(run):
    run(start=loop.Snapshot("r", 3, "last", "all"))
    message = r"of s began from r step 3 \(last\), and it would now begin from r step 4 \(best\)"
    with pytest.raises(ValueError, match=message):
        run(start=loop.Snapshot("r", 4, "best", "all"))


def test_the_weights_that_a_stage_began_with_are_freed(run):
    counts = []

    def begin():
        return meshes.replicate({"norm": {"scale": jnp.zeros(977)}}, meshes.make(data=1, fsdp=-1))

    def count():
        counts.append(sum(x.shape == (977,) for x in jax.live_arrays()))

    trained = begin()
    with pytest.raises(Preempted):
        run(trained=trained, before_step=count, preempted=lambda: True)
    assert trained["norm"]["scale"].is_deleted()
    trained = begin()
    with pytest.raises(Preempted):
        run(trained=trained, before_step=count, preempted=lambda: True)  # from the checkpoint
    assert trained["norm"]["scale"].is_deleted()
    assert counts == [1, 1]


def test_the_preflight_comes_before_the_first_step_of_a_new_run_only(run):
    states = []
    run(preflight=states.append)
    run(preflight=states.append)
    assert len(states) == 1 and int(states[0].step) == 0


def test_evaluations_are_logged_beside_their_step_and_the_best_is_returned(run, tmp_path):
    values = iter([0.2, 0.8, 0.5])
    given = {
        "eval_steps": 2, "metric_for_best_model": "accuracy", "load_best_model_at_end": True,
        "evaluate": lambda state: {"accuracy": next(values)},
    }  # fmt: skip
    trained, _, lines = run(**given)
    found = {line["step"]: line.get("eval_accuracy") for line in lines}
    assert found == {1: 0.2, 3: 0.8, 4: 0.5}
    assert trained == 4  # after step 3
    assert run.snapshot == ("s", 4, "best", "all")
    assert [p.name for p in (tmp_path / "checkpoints/s_best").iterdir()] == ["4"]


def test_a_best_step_that_was_removed_is_found_anew(run, tmp_path):
    values = iter([0.8, 0.5, 0.2])
    given = {
        "eval_steps": 2, "metric_for_best_model": "accuracy", "load_best_model_at_end": True,
        "evaluate": lambda state: {"accuracy": next(values)},
    }  # fmt: skip
    calls = []
    with pytest.raises(Preempted):
        run(preempted=lambda: calls.append(0) or len(calls) == 3, **given)
    shutil.rmtree(tmp_path / "checkpoints/s_best")
    trained, _, lines = run(**given)
    assert [line.get("eval_accuracy") for line in lines] == [0.8, 0.5, 0.2]
    assert trained == 4  # the best since then


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(run, tmp_path, capsys):
    whole, batches, lines = run()
    (tmp_path / "checkpoints/s/5/data/metadata").write_bytes(b"")
    trained, seen, again = run()
    assert (trained, seen) == (whole, batches[4:])
    assert [line["step"] for line in again] == [line["step"] for line in lines]
    assert "s/5 is passed over for step 4: data/metadata has 0 bytes" in capsys.readouterr().err


@pytest.mark.parametrize("when", [2, 4])
def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(run, tmp_path, when):
    with pytest.raises(ValueError, match=rf"s step {when}: loss is nan; nothing of this step was"):
        run(loss=lambda number: math.nan if number == when else 1.0)
    saved = sorted(int(p.name) for p in (tmp_path / "checkpoints/s").iterdir())
    assert max(saved) == when


def test_steps_are_given_or_follow_from_the_epochs():
    def total(max_steps, epochs, epoch_steps=10, warmup_steps=0):
        c = {"max_steps": max_steps, "num_train_epochs": epochs, "warmup_steps": warmup_steps}
        return loop.total_steps(c, epoch_steps)

    assert total(7, 2.0) == 7
    assert total(0, 1.25) == total(-1, 1.25) == 13
    with pytest.raises(ValueError, match=r"max_steps is -1 and num_train_epochs 0\.0, of 10 steps"):
        total(-1, 0.0)
    with pytest.raises(ValueError, match="warmup_steps is 5, and a warm-up begins with the"):
        total(1, 0.0, warmup_steps=5)
    assert total(2, 0.0, warmup_steps=5) == 2


def test_a_step_that_compiles_logs_its_seconds_and_the_first_says_so_before(run, capsys):
    numbers = iter(range(9))

    def compile_in_steps_0_and_3():
        if (number := next(numbers)) in (0, 3):
            jax.jit(lambda x: jnp.sin(x) + number)(1.0)

    *_, lines = run(before_step=compile_in_steps_0_and_3, logging_steps=1)
    assert [line.get(loop.COMPILE, 0) > 0 for line in lines] == [True, False, False, True, False]
    assert "s: compiling the programs of step 0" in capsys.readouterr().err


def test_seconds_of_compiling_are_summed_since_the_line_before(run, monkeypatch, capsys):
    monkeypatch.setattr(loop, "_SHOWN_SECONDS", 0.0)
    *_, lines = run(before_step=lambda: jax.jit(lambda x: x * 3)(1.0), logging_steps=2)
    printed = [x for x in capsys.readouterr().err.splitlines() if " compiled for " in x]
    assert [x.split(" compiled")[0] for x in printed] == [f"s: step {n}" for n in range(5)]
    assert all(line[loop.COMPILE] > 0 for line in lines)
    assert "s: 1 programs, " in printed[4]  # an earlier run of this test may have left it
