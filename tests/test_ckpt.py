"""A complete checkpoint is restored on its shards; an incomplete one never is."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mmcot_jax import ckpt
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


def test_a_step_that_a_killed_run_left_behind_is_removed_at_the_next_start(tmp_path):
    with Checkpoints(tmp_path / "sft", keep=None) as checkpoints:  # as before the removal
        for step in (1, 2, 3, 4):
            checkpoints.save(step, state(step), {})
    with Checkpoints(tmp_path / "sft", keep=3) as checkpoints:
        assert int(checkpoints.restore(like(state(0))).state.step) == 4
    assert ckpt.saved_steps(tmp_path / "sft") == [2, 3, 4]


def test_saving_a_step_again_changes_nothing(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state(1), {"next": 1})
        checkpoints.save(1, state(2), {"next": 2})
        assert checkpoints.restore(like(state(0))).data == {"next": 1}


def test_a_run_that_went_back_saves_an_earlier_step(tmp_path):
    with Checkpoints(tmp_path, keep=1) as best:
        best.save(6, state(6), {"next": 6})
    with Checkpoints(tmp_path, keep=1) as best:
        best.save(5, state(5), {"next": 5})
        best.wait()
        assert best.latest() == 5
        assert best.restore(like(state(0))).data == {"next": 5}
    assert [p.name for p in tmp_path.iterdir()] == ["5"]


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


def test_a_checkpoint_of_another_model_names_differences_of_parameters_first(tmp_path):
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
    assert message.count(" there and ") == 4 and "; and " in message and len(message) < 600


def test_a_checkpoint_of_another_optimizer_says_so(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state(1), {})
        checkpoints.wait()
        other = state(0)
        other = other._replace(opt=optax.sgd(1e-3, momentum=0.9).init(other.trained))
        with pytest.raises(ValueError, match=r"1 is of another optimizer: opt\."):
            checkpoints.restore(like(other))


# --- damaged checkpoints -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    """A folder with the checkpoints 3 and 4."""
    folder = tmp_path_factory.mktemp("checkpoints") / "sft"
    with Checkpoints(folder) as checkpoints:
        for step in (3, 4):
            checkpoints.save(step, ten_numbers(step), {"next": step})
    return folder


def ten_numbers(step: int) -> TrainState:
    return TrainState(jnp.int32(step), {"w": jnp.arange(10.0) + step}, ())


def like_ten_numbers() -> TrainState:
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), ten_numbers(0)
    )


def empty(path: pathlib.Path) -> None:
    path.write_bytes(b"")


def truncate(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def zero(path: pathlib.Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def replace_by_a_folder(path: pathlib.Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = {
    empty: "has 0 bytes in place of",
    truncate: "bytes in place of",
    flip_a_bit: "has other contents than were saved",
    zero: "has other contents than were saved",
    pathlib.Path.unlink: "is missing",
    replace_by_a_folder: "bytes in place of",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damage_to_any_file_is_found_before_it_is_read(two_steps, tmp_path, damage):
    names = [path.relative_to(two_steps) for path in two_steps.glob("4/**/*") if path.is_file()]
    assert len(names) >= 16
    for count, name in enumerate(names):
        folder = tmp_path / str(count)
        shutil.copytree(two_steps, folder)
        damage(folder / name)
        step, passed_over = ckpt.latest_whole(folder)
        assert (step, list(passed_over)) == (3, ["4"]), name
        if name.name != ckpt.MANIFEST:
            assert passed_over["4"].startswith(name.relative_to("4").as_posix()), name
            assert DAMAGES[damage] in passed_over["4"], name


def test_the_last_whole_checkpoint_stays_where_newer_ones_are_damaged(two_steps, tmp_path):
    """A kill may come before orbax removes the older one, and damage the newer one."""
    shutil.copytree(two_steps, tmp_path / "sft")
    files = (path for path in (tmp_path / "sft/4/state").rglob("*") if path.is_file())
    flip_a_bit(max(files, key=lambda path: path.stat().st_size))
    with Checkpoints(tmp_path / "sft", keep=1) as checkpoints:
        assert checkpoints.restore(like_ten_numbers()).data == {"next": 3}
    shutil.copytree(two_steps, tmp_path / "two")
    with Checkpoints(tmp_path / "two", keep=1) as checkpoints:
        assert checkpoints.restore(like_ten_numbers()).data == {"next": 4}
    assert not (tmp_path / "two/3").exists()


def empty_folder(folder: pathlib.Path) -> None:
    (folder / "9").mkdir()


def huge_number(folder: pathlib.Path) -> None:
    (folder / ("9" * 30)).mkdir()


def copied_step(folder: pathlib.Path) -> None:
    shutil.copytree(folder / "3", folder / "12")


def state_gone(folder: pathlib.Path) -> None:
    shutil.rmtree(folder / "4/state")


def all_files_emptied(folder: pathlib.Path) -> None:
    for path in folder.glob("4/**/*"):
        if path.is_file():
            empty(path)


def data_emptied(folder: pathlib.Path) -> None:
    empty(folder / "4/data/metadata")


def array_flipped(folder: pathlib.Path) -> None:
    flip_a_bit(next(folder.glob("4/state/ocdbt.process_0/d/*")))


PASSED_OVER = {
    empty_folder: (4, "9 is passed over for step 4: it has no manifest.json"),
    huge_number: (4, "9 is passed over for step 4: it has no manifest.json"),
    copied_step: (4, "12 is passed over for step 4: it is a copy of step 3"),
    state_gone: (3, "4 is passed over for step 3: state/_METADATA is missing"),
    all_files_emptied: (3, "4 is passed over for step 3: manifest.json is damaged"),
    data_emptied: (3, "4 is passed over for step 3: data/metadata has 0 bytes in place of 11"),
    array_flipped: (3, "has other contents than were saved"),
}


@pytest.mark.parametrize("damage", PASSED_OVER)
def test_the_last_whole_step_is_restored_and_the_other_is_kept(two_steps, tmp_path, capfd, damage):
    folder = tmp_path / "sft"
    shutil.copytree(two_steps, folder)
    damage(folder)
    before = {path.name for path in folder.iterdir()}
    wanted, message = PASSED_OVER[damage]
    with Checkpoints(folder) as checkpoints:
        restored = checkpoints.restore(like_ten_numbers())
        assert restored.data == {"next": wanted}
        assert same(restored.state, ten_numbers(wanted))
        (line,) = capfd.readouterr().err.splitlines()
        assert message in line and ".damaged, remove it when you no longer need it" in line
        (damaged,) = {path.name for path in folder.iterdir()} - before
        assert damaged.removesuffix(".damaged") in before
        checkpoints.save(wanted + 1, ten_numbers(wanted + 1), {"next": wanted + 1})
    assert ckpt.latest_whole(folder) == (wanted + 1, {})
    assert (folder / damaged).is_dir()


def test_a_step_that_is_damaged_twice_is_kept_twice(two_steps, tmp_path, capfd):
    folder = tmp_path / "sft"
    shutil.copytree(two_steps, folder)
    for _ in range(2):
        data_emptied(folder)
        with Checkpoints(folder) as checkpoints:
            checkpoints.save(4, ten_numbers(4), {"next": 4})
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["3", "4", "4.damaged", "4.damaged-2"]


def test_folders_of_other_names_are_left_alone(two_steps, tmp_path, capfd):
    folder = tmp_path / "sft"
    shutil.copytree(two_steps, folder)
    for name in ("best", "007", "-1", "5.0", "5.copy"):
        (folder / name).mkdir()
    (folder / "8").write_text("a file")
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(like_ten_numbers()).data == {"next": 4}
    assert capfd.readouterr().err == ""


def test_without_a_whole_step_nothing_begins_anew(two_steps, tmp_path):
    folder = tmp_path / "sft"
    shutil.copytree(two_steps, folder)
    data_emptied(folder)
    (folder / "3" / ckpt.MANIFEST).unlink()
    message = (
        r"no checkpoint in .*sft is whole \(4: data/metadata has 0 bytes in place of 11; "
        r"3: it has no manifest\.json\): put one back from a copy, or remove the folder"
    )
    with pytest.raises(ValueError, match=message):
        ckpt.latest_whole(folder)
    with pytest.raises(ValueError, match=message):
        Checkpoints(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["3", "4"]


def test_a_damage_between_two_starts_and_a_restore_is_found(two_steps, tmp_path, capfd):
    folder = tmp_path / "sft"
    shutil.copytree(two_steps, folder)
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.latest() == 4
        array_flipped(folder)
        assert checkpoints.restore(like_ten_numbers()).data == {"next": 3}


def test_a_folder_without_checkpoints_is_none(tmp_path):
    assert ckpt.latest_whole(tmp_path / "none") == (None, {})
    assert ckpt.latest_whole(tmp_path) == (None, {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_cannot_be_read_is_a_damage(two_steps, tmp_path):
    shutil.copytree(two_steps, tmp_path / "sft")
    (tmp_path / "sft/4/data/metadata").chmod(0)
    _, passed_over = ckpt.latest_whole(tmp_path / "sft")
    assert passed_over == {"4": "data/metadata cannot be read (Permission denied)"}


def test_all_are_kept_without_a_limit(tmp_path):
    with Checkpoints(tmp_path, keep=None) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(step, ten_numbers(step), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2", "3", "4", "5"]


NO_ROOM = """
import resource, sys
import jax.numpy as jnp
from mmcot_jax import errors, hosts
from mmcot_jax.ckpt import Checkpoints
from mmcot_jax.types import TrainState

def save():
    hosts.initialize()
    arrays = {str(i): jnp.arange(20000.0) for i in range(40)}
    with Checkpoints(sys.argv[1]) as checkpoints:
        checkpoints.save(1, TrainState(jnp.int32(1), arrays, ()), {})

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
sys.exit(errors.run_command(save))
"""


def test_a_write_that_had_not_begun_when_another_failed_is_not_reported(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        ckpt._report_one_failure.__wrapped__()
        for name in ("save.<locals>.write_fragment", "reward"):
            warnings.warn(f"coroutine '{name}' was never awaited", RuntimeWarning, stacklevel=1)
    assert [str(each.message) for each in seen] == ["coroutine 'reward' was never awaited"]


@pytest.mark.slow
def test_a_disk_without_room_is_one_line_however_many_arrays_there_are(tmp_path):
    command = [sys.executable, "-c", NO_ROOM, str(tmp_path / "sft")]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    lines = ended.stderr.split("error: ", 1)[1].splitlines()
    assert ended.returncode == 2 and len(lines) == 1 and "File too large: raise the" in lines[0]
    assert "Traceback" not in ended.stderr
    with Checkpoints(tmp_path / "sft") as checkpoints:
        assert checkpoints.latest() is None
        checkpoints.save(1, ten_numbers(1), {})
    assert [path.name for path in (tmp_path / "sft").iterdir()] == ["1"]


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
