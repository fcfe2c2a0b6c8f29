"""A complete checkpoint is restored on its shards; an incomplete one never is."""

import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mmcot_jax.ckpt import Checkpoints
from mmcot_jax.types import TrainState

ON_SHARDS = PartitionSpec("fsdp")


def state(step: int, width: int = 16, devices: int = 8) -> TrainState:
    mesh = jax.make_mesh((devices,), ("fsdp",), axis_types=(jax.sharding.AxisType.Auto,))
    trained = {"q": {"a": jnp.arange(width * 8.0).reshape(width, 8) + step, "b": jnp.ones(3)}}
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    whole = TrainState(jnp.int32(step), trained, optimizer.init(trained))
    return jax.tree.map(
        lambda x: jax.device_put(
            x, NamedSharding(mesh, ON_SHARDS if x.ndim == 2 else PartitionSpec())
        ),
        whole,
    )


def like(of: TrainState) -> TrainState:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), of)


def same(a: TrainState, b: TrainState) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(
        jax.tree.map(lambda x, y: x.dtype == y.dtype and np.array_equal(x, y), a, b)
    )


def test_the_last_step_comes_back_on_its_shards(tmp_path):
    with Checkpoints(tmp_path / "sft") as checkpoints:
        assert checkpoints.restore(like(state(0))) is None
        checkpoints.save(3, state(3), {"next": 7})
        checkpoints.save(5, state(5), {"next": 11})
    with Checkpoints(tmp_path / "sft") as checkpoints:
        restored = checkpoints.restore(like(state(0)))
    assert same(restored.state, state(5))
    assert restored.data == {"next": 11}
    assert restored.state.trained["q"]["a"].sharding.spec == ON_SHARDS
    assert isinstance(restored.state.opt[1][0], optax.ScaleByAdamState)


def test_a_run_may_resume_on_fewer_devices(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, state(3), {})
        checkpoints.wait()
        restored = checkpoints.restore(like(state(0, devices=2)))
    assert same(restored.state, state(3))
    assert len(restored.state.trained["q"]["a"].sharding.device_set) == 2


def test_only_the_last_are_kept(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(step, state(step), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["4", "5"]


def test_saving_a_step_again_changes_nothing(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state(1), {"next": 1})
        checkpoints.save(1, state(2), {"next": 2})
        assert checkpoints.restore(like(state(0))).data == {"next": 1}


def test_one_of_two_folders_is_written_at_a_time(tmp_path, monkeypatch):
    wait, seen = Checkpoints.wait, []
    monkeypatch.setattr(Checkpoints, "wait", lambda self: seen.append(self) or wait(self))
    with Checkpoints(tmp_path / "last") as last, Checkpoints(tmp_path / "best") as best:
        last.save(1, state(1), {})
        assert seen == []
        best.save(1, state(1), {})
        assert seen == [last] and (tmp_path / "last/1").is_dir()
        last.save(2, state(2), {})
        assert seen == [last, best] and (tmp_path / "best/1").is_dir()


def test_a_state_may_be_donated_right_after_it_is_saved(tmp_path):
    spoil = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0)
    spoil(state(0, width=65536))
    with Checkpoints(tmp_path) as checkpoints:
        saved = state(4, width=65536)
        checkpoints.save(4, saved, {})
        jax.block_until_ready(spoil(saved))
        checkpoints.wait()
        restored = checkpoints.restore(like(state(0, width=65536)))
    assert same(restored.state, state(4, width=65536))


def test_a_half_written_step_is_not_picked_up(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state(1), {"next": 1})
    half = tmp_path / "2.orbax-checkpoint-tmp-1"
    (half / "state").mkdir(parents=True)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 1
        assert checkpoints.restore(like(state(0))).data == {"next": 1}
        checkpoints.save(2, state(2), {"next": 2})
    assert not half.exists()


def test_a_checkpoint_of_another_model_names_every_difference(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state(1), {})
        checkpoints.wait()
        other = state(0, width=8)
        other.trained["q"]["c"] = other.trained["q"].pop("b")
        with pytest.raises(ValueError, match="1 is of another model") as caught:
            checkpoints.restore(like(other))
    message = str(caught.value)
    assert "trained.q.a is float32[16 8] there and float32[8 8] here" in message
    assert "trained.q.b is float32[3] there and missing here" in message
    assert "trained.q.c is missing there and float32[3] here" in message


ENDLESS = """
import itertools, sys
import jax.numpy as jnp
from mmcot_jax.ckpt import Checkpoints
from mmcot_jax.types import TrainState

with Checkpoints(sys.argv[1], keep=2) as checkpoints:
    for step in itertools.count((checkpoints.latest() or 0) + 1):
        full = jnp.full((512, 512), step, jnp.float32)
        checkpoints.save(step, TrainState(jnp.int32(step), {"w": full}, ()), {"next": step})
        print(step, flush=True)
"""


@pytest.mark.slow
def test_a_run_killed_at_any_moment_leaves_a_consistent_step(tmp_path):
    draw = random.Random(0)
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])

    def expected(*shape, dtype=jnp.float32):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=place)

    wanted = TrainState(expected(dtype=jnp.int32), {"w": expected(512, 512)}, ())
    for _ in range(4):
        reached = _save_until_killed(tmp_path, draw.uniform(0, 0.3))
        with Checkpoints(tmp_path, keep=2) as checkpoints:
            restored = checkpoints.restore(wanted)
        step = int(restored.state.step)
        # the last one printed may still have been on its way to the disk
        assert reached - 1 <= step <= reached + 1
        assert restored.data == {"next": step}
        assert np.all(restored.state.trained["w"] == step)


def _save_until_killed(folder: pathlib.Path, seconds: float) -> int:
    """Saves until it is killed `seconds` after the second step; returns the last step printed."""
    command = [sys.executable, "-c", ENDLESS, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        printed = run.stdout.readline() + run.stdout.readline()
        time.sleep(seconds)
        run.send_signal(signal.SIGKILL)
        printed += run.stdout.read()
    return int(printed.split()[-1])
