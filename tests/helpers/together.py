"""Collective operations without a model: `python tests/helpers/together.py SCENARIO [ARGUMENT]`.

test_hosts.py starts it in two processes of four devices each.
"""

import os
import pathlib
import signal
import sys
import time

import numpy as np

from mmcot_jax import hosts


def rows() -> None:
    """Rows of each process, on meshes that separate its devices or where processes share rows."""
    import jax

    from mmcot_jax import mesh as meshes
    from mmcot_jax import rules

    devices, process = np.array(jax.devices()), jax.process_index()
    batch = np.arange(16.0).reshape(8, 2) / 3  # float64: jax would round it
    apart = devices[[0, 4, 1, 5, 2, 6, 3, 7]]
    for order, shape, ours in (
        (devices, (1, 8, 1), ([0, 1, 2, 3], [4, 5, 6, 7])),
        (apart, (1, 8, 1), ([0, 2, 4, 6], [1, 3, 5, 7])),
        (devices, (2, 2, 2), ([0, 1, 2, 3], [4, 5, 6, 7])),
        (apart, (4, 1, 2), (list(range(8)), list(range(8)))),
        (devices, (1, 1, 8), (list(range(8)), list(range(8)))),
    ):
        mesh = jax.sharding.Mesh(order.reshape(shape), rules.AXES)
        assert meshes.rows(mesh, 8).tolist() == ours[process]
        assert meshes.rows(mesh, 8, 1 - process).tolist() == ours[1 - process]
        mine = batch[ours[process]]
        put = meshes.put(mine, mesh)
        assert put.shape == (8, 2)
        double = jax.jit(lambda x: 2 * x)(put)
        np.testing.assert_array_equal(meshes.get(double), np.float32(2) * mine.astype(np.float32))
        np.testing.assert_array_equal(meshes.gather(mine, mesh), batch)
        mine = mine + process  # of rows that both have process 0's count
        expected = batch + (np.isin(np.arange(8), ours[0]) == 0)[:, None]
        np.testing.assert_array_equal(meshes.gather(mine, mesh), expected)
        key = meshes.replicate(jax.random.key(3), mesh)
        assert key.is_fully_replicated and len(key.sharding.device_set) == 8
    assert meshes.all_gather_objects({"id": "é" * process}) == [{"id": ""}, {"id": "é"}]
    assert meshes.all_reduce_max(5 - process) == 5


def rewards() -> None:
    """A reward that hangs on process 1 costs its samples, and process 0 the wait."""
    import jax

    from mmcot_jax import mesh as meshes
    from mmcot_jax.example import Example, Reply
    from mmcot_jax.rewards import short_names
    from mmcot_jax.rewards.pool import Pool
    from mmcot_jax.rewards.results import failure_mask

    mesh = meshes.make()
    name = f"{__file__}:hangs_on_process_1"
    began = time.monotonic()
    with Pool([name], timeout_s=2.0, processes=2) as pool:
        scored = pool.submit([Example("", ("?",), "a")] * 4, [Reply(("a",))] * 4).result()
        values = meshes.gather(scored.values, mesh)
        np.testing.assert_array_equal(values[:, 0], [1.0] * 4 + [np.nan] * 4)
        assert meshes.gather(failure_mask(scored, short_names([name])), mesh).sum() == 4
    assert 2 < time.monotonic() - began < 60
    assert jax.process_count() == 2


def hangs_on_process_1(example, reply) -> float:
    if os.environ["JAX_PROCESS_ID"] == "1":
        time.sleep(10_000)
    return 1.0


def checkpoints(folder: str) -> None:
    """A damaged checkpoint is passed over by both, and without a whole one both raise."""
    import jax

    from mmcot_jax import ckpt
    from mmcot_jax import mesh as meshes
    from mmcot_jax.types import TrainState

    mesh = meshes.make()
    shards = jax.sharding.NamedSharding(mesh, jax.P("fsdp"))
    alone = jax.sharding.NamedSharding(mesh, jax.P())
    like = TrainState(
        jax.ShapeDtypeStruct((), np.int32, sharding=alone),
        {"w": jax.ShapeDtypeStruct((1024, 2), np.float32, sharding=shards)},
        (),
    )
    with ckpt.Checkpoints(folder, keep=2) as saved:
        for step in (1, 2, 3):
            full = jax.tree.map(lambda x, n=step: np.full(x.shape, n, x.dtype), like)
            put = jax.tree.map(lambda x, to: jax.device_put(x, to.sharding), full, like)
            saved.save(step, put, {"next": step})
    assert ckpt.latest_whole(folder) == (3, {})
    for expected in (2, None):
        meshes.all_gather_objects("both have seen it whole")
        if jax.process_index() == 0:
            arrays = sorted(pathlib.Path(folder).glob("[23]/state/ocdbt.process_1/d/*"))
            arrays[-1].write_bytes(bytes(arrays[-1].stat().st_size))
        if expected:
            with ckpt.Checkpoints(folder, keep=2) as saved:
                state, data = saved.restore(like)
                assert data == {"next": expected}
                assert all(
                    (s.data == expected).all() for s in state.trained["w"].addressable_shards
                )
        else:
            try:
                with ckpt.Checkpoints(folder, keep=2) as saved:
                    saved.restore(like)
            except ValueError as error:
                assert "is whole (2: state/ocdbt.process_1/d/" in str(error), error
                return
            raise AssertionError("it was restored")


def two_configs() -> None:
    """Processes with two configs are refused."""
    hosts.check_same_config(f"a config of process {os.environ['JAX_PROCESS_ID']}")


def refused() -> None:
    """What the main process refuses is refused by all, also after a while."""

    from mmcot_jax.main_process import on_main_process

    def refuse() -> None:
        time.sleep(3)
        raise ValueError("the folder is in use")

    expected = 3 if hosts.is_main_process() else None
    assert on_main_process(lambda: 3) == expected
    on_main_process(refuse)


def lose(name: str, index: str) -> None:
    """A process dies or stops between two steps; the others wait for it in the next."""
    import jax

    from mmcot_jax import mesh as meshes

    mesh = meshes.make()
    total = jax.jit(lambda x: x.sum(), out_shardings=jax.NamedSharding(mesh, jax.P()))
    for step in range(1000):
        if step == 3 and os.environ["JAX_PROCESS_ID"] == index:
            print("lost at", time.monotonic(), flush=True)
            os.kill(os.getpid(), getattr(signal, name))
        float(total(meshes.put(np.ones(4, np.float32), mesh)))


def preempt() -> None:
    """SIGTERM to process 1 is seen by both at the same step."""
    from mmcot_jax import mesh as meshes

    with hosts.PreemptionNotice() as preempted:
        for step in range(200):
            if step == 3 and os.environ["JAX_PROCESS_ID"] == "1":
                os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
            if preempted():
                assert meshes.all_gather_objects(step) == [step, step]
                return
    raise AssertionError("the signal was not seen")


def main(argv) -> int:
    hosts.initialize()
    try:
        SCENARIOS[argv[0]](*argv[1:])
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


SCENARIOS = {
    f.__name__: f for f in (rows, rewards, preempt, checkpoints, two_configs, refused, lose)
}

if __name__ == "__main__":
    hosts.run_and_exit(main, sys.argv[1:])
