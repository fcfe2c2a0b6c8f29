"""A plan has the functions that a run calls, with the same shapes and shardings."""

import jax
import pytest

from mmcot_jax import config, stages
from mmcot_jax.plan.programs import build, programs
from mmcot_jax.sample import sampler
from mmcot_jax.sample.sampler import SampleStatic
from mmcot_jax.train import step


class Stop(Exception):
    """Raised in place of the expected call."""


def called(monkeypatch, module, name, run):
    """The arguments of the first call of `module.name` by `run`."""
    seen = {}

    def record(*args, **options):
        seen.update(args=args, options=options)
        raise Stop

    monkeypatch.setattr(module, name, record)
    with pytest.raises(Stop):
        run()
    return seen["args"], seen["options"]


def split_static(args):
    """The arrays of a call, and its static arguments but the backbone."""
    static = [x for x in args if isinstance(x, step.SftStatic | step.GrpoStatic | SampleStatic)]
    return [x for x in args if x not in static and not hasattr(x, "renderer")], static


def comparable(statics):
    """Without backbone and optimizer, which are compared by identity."""
    return [
        [x for x in static if not hasattr(x, "renderer") and not hasattr(x, "update")]
        for static in statics
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "module", "name"),
    [("sft", step, "sft_step"), ("grpo", sampler, "sample"), ("grpo", step, "grpo_step")],
)
def test_a_run_calls_the_planned_function(stage, module, name, monkeypatch, tmp_path):
    changes = [
        "data.train.count=400", "data.grpo.count=80", "eval.batch_size=48", "grpo.eval_steps=0",
        "rollout_mesh={'data': 4, 'tensor': 2}", "grpo.max_completion_length=8",
        "grpo.reward_processes=1", "grpo.rollout_micro_batches=2", "grpo.preflight=False",
    ]  # fmt: skip
    c = config.load("configs/m2t.py:tiny", changes)
    with c.unlocked():
        c.stages = (stage,)
    run = stages.Run(c, tmp_path)
    args, options = called(monkeypatch, module, name, lambda: stages.run_all(run))
    monkeypatch.undo()
    (planned,) = [p for p in programs(c, run.mesh, run.rollout_mesh) if p.name == name]
    given, static = split_static(args)
    wanted, planned_static = split_static(planned.trace.args)
    assert comparable(static) == comparable(planned_static)
    assert jax.tree.structure(given) == jax.tree.structure(wanted)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(given), jax.tree.leaves(wanted), strict=True
    ):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), jax.tree_util.keystr(path)
        assert a.sharding.is_equivalent_to(b.sharding, a.ndim), jax.tree_util.keystr(path)
    assert options == planned.trace.keywords


def test_a_plan_downloads_nothing_that_paints():
    model = config.load("configs/t2m.py:8b-clip").model.to_dict()
    names = {"unclip_weights": "no-one/none-such", "clip_weights": "no-one/none-such"}
    built = build({**model, **names}, learn="chain", eos=True)
    assert built.image_outputs == ("embedding", "pixels", "clip")
